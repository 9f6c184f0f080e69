"""The classification task against NumPy."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from skipway.models import build
from skipway.tasks import TASKS
from skipway.tasks.classify.task import Classify


def task(classes: int) -> Classify:
    return Classify(tuple(f"c{i}" for i in range(classes)))


def meter(job: Classify, scores: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
    """The figures of one batch."""
    metrics = job.metrics()
    metrics.update((scores,), targets)
    return metrics.compute()


def one_hot(targets: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(targets, classes).float()


def log_softmax(scores: np.ndarray) -> np.ndarray:
    shifted = scores - scores.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@pytest.mark.parametrize("classes", [2, 3, 10, 1000])
def test_a_perfect_prediction_scores_1(classes: int) -> None:
    targets = torch.arange(50) % classes
    metrics = meter(task(classes), 30 * one_hot(targets, classes), targets)
    assert metrics["top1"] == 1
    assert metrics.get("top5", 1) == 1
    assert metrics["loss"] < 1e-6


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_random_scores_score_chance(classes: int) -> None:
    count = 20_000
    metrics = meter(task(classes), torch.randn(count, classes), torch.randint(classes, (count,)))
    for key, chance in {"top1": 1 / classes, **({"top5": 5 / classes} if classes > 5 else {})}.items():
        assert metrics[key] == pytest.approx(chance, abs=5 * math.sqrt(chance * (1 - chance) / count) + 1e-9)


def test_no_preference_costs_the_logarithm_of_the_classes() -> None:
    for classes in (2, 10, 1000):
        loss = task(classes).score_loss(torch.zeros(4, classes), torch.zeros(4, dtype=torch.long)).item()
        assert loss == pytest.approx(math.log(classes), rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_the_loss_is_numpys_cross_entropy_with_smoothed_targets(smoothing: float) -> None:
    scores, targets = 3 * torch.randn(40, 7), torch.randint(7, (40,))
    weights = (1 - smoothing) * np.eye(7)[targets.numpy()] + smoothing / 7
    expected = -(weights * log_softmax(scores.double().numpy())).sum(axis=1).mean()
    assert replace(task(7), label_smoothing=smoothing).score_loss(scores, targets).item() == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("mixed", [False, True])
def test_weights_multiply_what_each_class_costs_and_the_mean_is_over_images(smoothing: float, mixed: bool) -> None:
    scores, targets, weights = torch.randn(40, 5), torch.randint(5, (40,)), 3 * torch.rand(5)
    shares = one_hot(targets, 5)
    if mixed:
        shares = 0.7 * shares + 0.3 * shares.roll(1, 0)
    smooth = ((1 - smoothing) * shares + smoothing / 5).double().numpy()
    expected = -(smooth * weights.double().numpy() * log_softmax(scores.double().numpy())).sum() / 40
    found = replace(task(5), label_smoothing=smoothing, class_weights=weights).score_loss(
        scores, shares if mixed else targets
    )
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_mixed_targets_weigh_their_classes() -> None:
    scores, weights = torch.randn(20, 5), torch.rand(20, 5)
    weights /= weights.sum(1, keepdim=True)
    expected = -(weights.numpy() * log_softmax(scores.numpy())).sum(axis=1).mean()
    assert task(5).score_loss(scores, weights).item() == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_half_precision_scores_is_computed_in_full() -> None:
    scores, targets = (20 * torch.randn(64, 10)).bfloat16(), torch.randint(10, (64,))
    expected = -log_softmax(scores.double().numpy())[np.arange(64), targets.numpy()].mean()
    loss = task(10).score_loss(scores, targets)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_probabilities_are_numpys_softmax() -> None:
    scores = 5 * torch.randn(10, 4)
    found = task(4).class_probabilities(scores)
    np.testing.assert_allclose(found, np.exp(log_softmax(scores.double().numpy())), rtol=1e-5)
    warmer = task(4).class_probabilities(scores, temperature=2.5)
    np.testing.assert_allclose(warmer, np.exp(log_softmax(scores.double().numpy() / 2.5)), rtol=1e-5)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)


def test_accuracies_are_what_numpy_counts() -> None:
    scores, targets = torch.randn(500, 12), torch.randint(12, (500,))
    best = np.argsort(-scores.numpy(), axis=1)
    metrics = meter(task(12), scores, targets)
    assert metrics["top1"] == pytest.approx((best[:, 0] == targets.numpy()).mean(), abs=1e-6)
    assert metrics["top5"] == pytest.approx((best[:, :5] == targets.numpy()[:, None]).any(axis=1).mean(), abs=1e-6)


def test_the_tallies_of_batches_add_up_to_the_accuracy_of_all() -> None:
    job, scores, targets = task(4), torch.randn(50, 4), torch.randint(4, (50,))
    batches = zip(scores.split(16), targets.split(16), strict=True)
    together = torch.stack([job.counts(*batch) for batch in batches]).sum(0)
    assert job.train_metrics(together)["top1"] == pytest.approx((scores.numpy().argmax(1) == targets.numpy()).mean())


@pytest.mark.parametrize(("classes", "told"), [(2, False), (5, False), (6, True)])
def test_top5_is_told_only_where_it_can_be_wrong(classes: int, told: bool) -> None:
    assert ("top5" in meter(task(classes), torch.randn(30, classes), torch.randint(classes, (30,)))) == told


def test_averages_are_over_images_not_over_classes() -> None:
    targets = torch.tensor([0] * 9 + [1])
    assert meter(task(2), one_hot(torch.zeros(10, dtype=torch.long), 2), targets)["top1"] == pytest.approx(0.9)


def test_the_head_has_an_output_a_class() -> None:
    assert task(17).outputs == 17
    assert TASKS["classify"] is Classify
    assert Classify.name == "classify"
    assert Classify.metric in meter(task(3), torch.randn(4, 3), torch.zeros(4, dtype=torch.long))


def test_it_learns_a_tiny_set() -> None:
    job, net = task(4), build("resnet20", classes=4, channels=1)
    images, targets = torch.randn(16, 1, 8, 8), torch.arange(16) % 4
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(30):
        loss = job.score_loss(net(images), targets)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert meter(job, net(images).detach(), targets)["top1"] == 1
    assert loss.item() < 0.2
