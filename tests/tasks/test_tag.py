"""The tagging task against NumPy, scikit-learn and torchmetrics."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, log_loss
from torch import Tensor
from torchmetrics.functional.classification import multilabel_average_precision
from torchvision.transforms.v2 import CutMix, MixUp

from skipway.models import build
from skipway.tasks import TASKS
from skipway.tasks.tag.task import Tag


def task(classes: int) -> Tag:
    return Tag(tuple(f"c{i}" for i in range(classes)))


def meter(job: Tag, scores: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """The figures of one batch."""
    metrics = job.metrics()
    metrics.update((scores,), targets)
    return metrics.compute()


def tags(count: int, classes: int, share: float = 0.3) -> Tensor:
    return (torch.rand(count, classes) < share).to(torch.uint8)


def sigmoid(scores: Tensor) -> np.ndarray:
    return 1 / (1 + np.exp(-scores.double().numpy()))


def average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """The mean over the true images of the precision among all that score as high (no two scores equal)."""
    ranked = truth[np.argsort(-scores)]
    return float((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked == 1].mean())


def test_a_perfect_prediction_scores_1() -> None:
    targets = tags(60, 7)
    metrics = meter(task(7), 60 * (targets.float() - 0.5), targets)
    assert {k: v for k, v in metrics.items() if k != "loss"} == {"map": 1, "f1_macro": 1, "f1_micro": 1}
    assert metrics["loss"] < 1e-6


def test_random_scores_score_chance() -> None:
    """A ranking by lot has the precision of the class's share; saying half of the time has 2 p / (1 + 2 p) for F1."""
    share, targets = 0.25, tags(20_000, 6, 0.25)
    metrics = meter(task(6), torch.randn(20_000, 6), targets)
    assert metrics["map"] == pytest.approx(share, abs=0.015)
    for key in ("f1_macro", "f1_micro"):
        assert metrics[key] == pytest.approx(2 * share / (1 + 2 * share), abs=0.01)


def test_no_preference_costs_the_logarithm_of_two() -> None:
    for smoothing in (0.0, 0.3):
        assert replace(task(9), label_smoothing=smoothing).score_loss(
            torch.zeros(4, 9), tags(4, 9)
        ).item() == pytest.approx(math.log(2), rel=1e-6)


def test_the_loss_is_scikit_learns_averaged_over_the_classes() -> None:
    scores, targets = 2 * torch.randn(30, 5), tags(30, 5)
    each = [log_loss(targets[:, i], sigmoid(scores)[:, i], labels=[0, 1]) for i in range(5)]
    assert task(5).score_loss(scores, targets).item() == pytest.approx(np.mean(each), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothing_moves_targets_by_half_of_it_and_weights_count_presence(smoothing: float) -> None:
    scores, targets, weights = torch.randn(40, 6), tags(40, 6), 5 * torch.rand(6)
    wanted = np.where(targets.numpy() == 1, 1 - smoothing / 2, smoothing / 2)
    said, heavy = sigmoid(scores), weights.double().numpy()
    expected = -(heavy * wanted * np.log(said) + (1 - wanted) * np.log(1 - said)).mean()
    assert replace(task(6), label_smoothing=smoothing, class_weights=weights).score_loss(
        scores, targets
    ).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("mix", [MixUp(alpha=1.0, num_classes=6), CutMix(alpha=1.0, num_classes=6)])
def test_mixed_images_have_the_mixture_of_their_tags(mix: MixUp | CutMix) -> None:
    targets = tags(8, 6)
    images = targets.float().mean(1).view(8, 1, 1, 1).expand(8, 3, 16, 16).contiguous()
    mixed, soft = mix(images, targets)
    assert soft.shape == (8, 6)
    torch.testing.assert_close(mixed.mean((1, 2, 3)), soft.mean(1))  # tags are mixed as much as pixels are
    assert not torch.equal(soft, targets.float())
    assert task(6).score_loss(torch.randn(8, 6), soft).isfinite()


def test_probabilities_are_numpys_sigmoid() -> None:
    scores = 5 * torch.randn(10, 4)
    np.testing.assert_allclose(task(4).class_probabilities(scores), sigmoid(scores), rtol=1e-5)
    np.testing.assert_allclose(task(4).class_probabilities(scores, 3.0), sigmoid(scores / 3), rtol=1e-5)


def test_mean_average_precision_is_torchmetrics_and_the_definitions() -> None:
    scores, targets = torch.randn(300, 8), tags(300, 8)
    found = meter(task(8), scores, targets)["map"]
    assert found == pytest.approx(multilabel_average_precision(scores.double(), targets.long(), 8).item(), abs=1e-6)
    each = [average_precision(targets[:, i].numpy(), scores[:, i].numpy()) for i in range(8)]
    assert found == pytest.approx(np.mean(each), abs=1e-6)


def test_scores_too_high_for_a_probability_to_tell_apart_keep_their_ranks() -> None:
    scores, targets = torch.tensor([[200.0], [199.0], [198.0], [197.0]]), torch.tensor([[1], [1], [0], [0]])
    assert task(1).class_probabilities(scores).unique().tolist() == [1]
    assert meter(task(1), scores, targets)["map"] == 1


def test_f1_is_scikit_learns() -> None:
    scores, targets = torch.randn(300, 8), tags(300, 8)
    metrics, said = meter(task(8), scores, targets), (sigmoid(scores) > 0.5).astype(int)
    for average in ("macro", "micro"):
        assert metrics[f"f1_{average}"] == pytest.approx(f1_score(targets, said, average=average), abs=1e-6)


def test_classes_that_no_image_has_are_left_out_of_the_means_over_classes() -> None:
    scores, targets = torch.randn(50, 4), tags(50, 4)
    targets[:, 2] = 0
    kept = [0, 1, 3]
    whole, part = meter(task(4), scores, targets), meter(task(3), scores[:, kept], targets[:, kept])
    assert whole["map"] == pytest.approx(part["map"])
    assert whole["f1_macro"] == pytest.approx(part["f1_macro"])
    assert whole["f1_micro"] < part["f1_micro"], "what was said of the absent class was wrong"


def test_where_nothing_is_to_be_found_the_scores_are_0_and_not_undefined() -> None:
    metrics = meter(task(3), -torch.ones(5, 3), torch.zeros(5, 3, dtype=torch.uint8))
    assert {metrics[k] for k in ("map", "f1_macro", "f1_micro")} == {0}


def test_the_tallies_of_batches_add_up() -> None:
    job, scores, targets = task(4), torch.randn(50, 4), tags(50, 4)
    batches = zip(scores.split(16), targets.split(16), strict=True)
    together = torch.stack([job.counts(*batch) for batch in batches]).sum(0)
    metrics = meter(job, scores, targets)
    assert job.train_metrics(together) == {key: metrics[key] for key in ("f1_macro", "f1_micro")}


def test_the_task_is_found_by_its_name_and_says_which_figure_counts() -> None:
    assert TASKS["tag"] is Tag
    assert Tag.name == "tag"
    assert Tag.metric in meter(task(3), torch.randn(4, 3), tags(4, 3))
    assert task(17).outputs == 17


def test_it_learns_a_tiny_set() -> None:
    job, net = task(4), build("resnet20", classes=4, channels=1)
    images, targets = torch.randn(16, 1, 8, 8), tags(16, 4)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
    for _ in range(40):
        loss = job.score_loss(net(images), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    metrics = meter(job, net(images).detach(), targets)
    assert metrics["map"] == 1
    assert metrics["f1_micro"] == 1


def test_a_loss_of_scores_in_bfloat16_is_computed_in_float32() -> None:
    scores, targets = torch.randn(64, 5).bfloat16(), tags(64, 5)
    found = task(5).score_loss(scores, targets)
    assert found.dtype == torch.float32
    p = sigmoid(scores)
    expected = -np.where(targets.numpy() > 0, np.log(p), np.log1p(-p)).mean()
    assert found.item() == pytest.approx(expected, rel=1e-5), "bfloat16 has three digits"
