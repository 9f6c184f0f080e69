"""Calibration against a loop over bins, torchmetrics, a grid of temperatures, and a published network."""

from pathlib import Path

import numpy as np
import pytest
import torch
from judged import card, images, judged, measured, scored
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from skipway.commands import loaded_run
from skipway.commands.import_weights import InputOptions, import_weights
from skipway.data import open_dataset
from skipway.evaluation.evaluate import score
from skipway.hardware import decide
from skipway.tasks import Classify, Tag
from skipway.tasks.base import SplitOutputs
from skipway.tasks.classify.calibration import BINS, cross_fitted, fit_temperature, reliability
from skipway.trained import task_of

ONE, SEVERAL = Classify(tuple("abcd")), Tag(tuple("abcd"))


def ece_by_hand(confidence: np.ndarray, right: np.ndarray) -> float:
    """Guo 2017, equation 3: bins ((m - 1) / M, m / M]."""
    total = 0.0
    for m in range(1, 16):
        inside = (confidence > (m - 1) / 15) & (confidence <= m / 15)
        if inside.any():
            total += inside.sum() / len(confidence) * abs(right[inside].mean() - confidence[inside].mean())
    return total


def drawn(hotter: float, n: int = 4000) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores that are `hotter` times too large for labels drawn from their softmax."""
    true = 2 * torch.randn(n, 4)
    return hotter * true, torch.multinomial(true.softmax(1), 1)[:, 0]


def test_the_calibration_error_is_the_mean_gap_of_15_bins() -> None:
    found = judged(classes=tuple("abcd"), n=500)
    confidence, right = found.probabilities.max(1).astype(np.float64), found.predicted == found.labels
    assert BINS == 15
    assert found.metrics["ece"] == pytest.approx(ece_by_hand(confidence, right), abs=1e-6)
    theirs = multiclass_calibration_error(torch.from_numpy(found.probabilities), torch.from_numpy(found.labels), 4, 15)
    assert found.metrics["ece"] == pytest.approx(theirs.item(), abs=1e-6)


def test_the_calibration_error_of_several_labels_is_over_all_of_them() -> None:
    found = judged(classes=tuple("abcd"), n=200, several=True)
    given, there = found.probabilities.ravel(), found.labels.ravel()
    assert found.metrics["ece"] == pytest.approx(ece_by_hand(given.astype(np.float64), there), abs=1e-6)
    theirs = binary_calibration_error(torch.from_numpy(given), torch.from_numpy(there).int(), 15)
    assert found.metrics["ece"] == pytest.approx(theirs.item(), abs=1e-6)


def test_bins_count_every_decision_once_and_ends_are_inside() -> None:
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5], [0.6, 0.4], [8 / 15, 7 / 15]])
    found = reliability(probabilities, np.array([0, 1, 0, 0]))
    assert found.count.sum() == 4
    assert found.count.nonzero()[0].tolist() == [7, 8, 14]  # 0.5 and 8/15 together, 0.6, 1
    assert found.correct[[7, 8, 14]].tolist() == [0.5, 1, 1]


@pytest.mark.parametrize("hotter", [0.3, 1.0, 4.0])
def test_the_temperature_is_the_one_that_the_scores_are_too_hot_by(hotter: float) -> None:
    scores, labels = drawn(hotter)
    found = fit_temperature(ONE, scores, labels)
    assert found == pytest.approx(hotter, rel=0.1)
    nearby = {t: ONE.score_loss(scores / t, labels).item() for t in np.geomspace(found / 1.3, found * 1.3, 41)}
    assert ONE.score_loss(scores / found, labels).item() <= min(nearby.values()) + 1e-6


def test_a_temperature_of_several_labels_is_found_too() -> None:
    true = 2 * torch.randn(2000, 4)
    labels = (torch.rand(2000, 4) < true.sigmoid()).to(torch.uint8)
    assert fit_temperature(SEVERAL, 3 * true, labels) == pytest.approx(3, rel=0.1)


def test_where_no_temperature_is_best_there_is_none() -> None:
    labels = torch.arange(40) % 4
    assert fit_temperature(ONE, 3 * torch.eye(4)[labels], labels) is None  # all right: the colder the better
    assert fit_temperature(ONE, -3 * torch.eye(4)[labels], labels) is None  # worse than chance: the hotter the better


def test_no_image_helps_to_choose_its_own_temperature() -> None:
    scores, labels = drawn(3.0, 50)
    found = cross_fitted(ONE, scores, labels)
    for fold in range(5):
        own = torch.arange(50) % 5 == fold
        temperature = fit_temperature(ONE, scores[~own], labels[~own])
        assert torch.equal(found[own], (scores[own] / temperature).softmax(1))
    other = labels.clone()
    other[7] = (labels[7] + 1) % 4
    changed = (cross_fitted(ONE, scores, other) != found).any(1)
    assert not changed[torch.arange(50) % 5 == 2].any()  # the seventh's own part
    assert changed[torch.arange(50) % 5 != 2].all()


def on_val(scores: torch.Tensor, labels: torch.Tensor) -> SplitOutputs:
    classes, names = tuple("abcd"), tuple(map(str, range(len(labels))))
    return SplitOutputs("bugs", "val", classes, images(labels.numpy(), names), "f1" * 32, True, (), (scores,), 1.0)


def test_a_temperature_that_lowers_the_error_of_images_that_it_was_not_fitted_on_is_kept() -> None:
    found = task_of(card(tuple("abcd"))).calibrate(on_val(*drawn(4.0, 600)))
    assert found == {"temperature": pytest.approx(4, rel=0.2), "split": "val", "n": 600}


def test_a_temperature_that_does_not_lower_it_is_dropped() -> None:
    kept = []
    for seed in range(12):
        torch.manual_seed(seed)
        scores, labels = drawn(1.0, 300)
        what = on_val(scores, labels)
        before = reliability(scores.softmax(1).numpy(), labels.numpy()).ece
        after = reliability(cross_fitted(ONE, scores, labels).numpy(), labels.numpy()).ece
        kept.append(task_of(card(tuple("abcd"))).calibrate(what) is not None)
        assert kept[-1] == (after < before)
    assert not all(kept), "scores that are right as they are need no temperature"


def test_fewer_than_thirty_images_fit_no_temperature() -> None:
    scores, labels = drawn(4.0, 40)
    assert task_of(card(tuple("abcd"))).calibrate(on_val(scores[:29], labels[:29])) is None
    assert task_of(card(tuple("abcd"))).calibrate(on_val(scores, labels)) is not None


def test_what_is_judged_on_the_split_of_the_fit_is_cross_fitted() -> None:
    fitted = card(calibration={"temperature": 0.7, "split": "val", "n": 40})
    on_val, on_test = (measured(fitted, scored(split=split)) for split in ("val", "test"))
    assert on_val.cross_fitted
    assert not on_test.cross_fitted
    assert np.array_equal(on_val.probabilities, on_test.probabilities)  # what is predicted stays what is predicted
    assert on_test.metrics["ece"] == reliability(on_test.probabilities, on_test.labels).ece
    assert on_val.metrics["ece"] != on_test.metrics["ece"]


def test_temperature_lowers_the_error_of_a_published_network_and_leaves_its_answers(
    shared_data: Path, tmp_path: Path
) -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    import_weights(
        str(shared_data / "weights/resnet20-12fca82f.th"),
        tmp_path / "run",
        "resnet20",
        InputOptions("cifar10", mean=mean, std=std),
    )
    run = loaded_run.open_run(tmp_path / "run", decide("cpu"))
    dataset = open_dataset(str(shared_data / "cifar10/test.parquet"))
    order = np.random.default_rng(0).permutation(len(dataset.train))
    halves = []
    for places in (order[:1000], order[1000:2000]):
        part = dataset.train.take(places)
        halves.append(
            score(run.card, type(dataset)(dataset.name, dataset.classes, part), "others", "train", run.scorer)
        )
    fitted = run.task.calibrate(halves[0])
    assert fitted is not None
    before = measured(run.card, halves[1])
    after = measured(card(tuple(dataset.classes), calibration=fitted), halves[1])
    assert fitted["temperature"] > 1  # trained to certainty, as the paper finds
    assert before.metrics["ece"] > 0.08
    assert after.metrics["ece"] < 0.5 * before.metrics["ece"]
    assert after.metrics["ece_uncalibrated"] == before.metrics["ece"]
    assert np.array_equal(before.predicted, after.predicted)
    assert after.metrics["top1"] == before.metrics["top1"]
