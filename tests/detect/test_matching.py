"""Errors by kind, confusions and the best threshold, against cases known by construction and against brute force."""

import numpy as np
import pytest

from skipway.data.box_targets import BoxTargets, from_images
from skipway.tasks.detect.detections import Detected
from skipway.tasks.detect.matching import confusion, error_kinds, score_curve, truth_at

BOX = (100, 100, 200, 200)  # an object of 100 x 100 pixels


def image(*objects: tuple[tuple[float, ...], int], crowd: bool = False) -> BoxTargets:
    return from_images([[(box, label, crowd, 1e4, None) for box, label in objects]], [(600, 600)])


def detected(*found: tuple[tuple[float, ...], int, float]) -> Detected:
    order = sorted(found, key=lambda one: -one[2])
    boxes, labels, scores = zip(*order, strict=True) if order else ((), (), ())
    return Detected(np.array(boxes, dtype=float).reshape(-1, 4), np.array(scores), np.array(labels, dtype=np.int64))


def moved(by: float) -> tuple[float, ...]:
    """BOX moved to the right: the overlap is (100 - by) / (100 + by)."""
    return (100 + by, 100, 200 + by, 200)


@pytest.mark.parametrize(
    ("found", "kind"),
    [
        ([(BOX, 0, 0.9), (moved(10), 0, 0.8)], "duplicate"),
        ([(moved(50), 0, 0.9)], "place"),  # overlap 1/3
        ([(BOX, 1, 0.9)], "class"),
        ([(moved(50), 1, 0.9)], "both"),
        ([(BOX, 0, 0.9), ((400, 400, 500, 500), 0, 0.8)], "background"),
        ([], "missed"),
    ],
)
def test_each_kind_of_error_is_recognised(found: list, kind: str) -> None:
    counts = error_kinds(detected(*found), truth_at(image((BOX, 0)), 0))
    assert {name for name, count in counts.items() if count} == {kind}
    assert counts[kind] == 1


def test_a_perfect_image_has_no_error_and_a_crowd_costs_nothing() -> None:
    assert not any(error_kinds(detected((BOX, 0, 0.9)), truth_at(image((BOX, 0)), 0)).values())
    crowd = truth_at(image((BOX, 0), crowd=True), 0)
    assert not any(error_kinds(detected((moved(5), 0, 0.9), ((110, 110, 150, 150), 0, 0.8)), crowd).values())


def test_the_confusion_matrix_counts_every_object_and_every_detection_once() -> None:
    targets = image((BOX, 0), ((300, 300, 400, 400), 1), ((10, 10, 60, 60), 1))
    found = [detected((BOX, 1, 0.9), ((300, 300, 400, 400), 1, 0.8), ((500, 500, 560, 560), 0, 0.7), (BOX, 0, 0.1))]
    expected = [[0, 1, 0], [0, 1, 1], [1, 0, 0]]
    assert confusion(targets, found, 2, threshold=0.5).tolist() == expected
    assert confusion(targets, found, 2, threshold=0.95).tolist() == [[0, 0, 1], [0, 0, 2], [0, 0, 0]]


def test_the_threshold_of_the_best_f1_is_that_of_trying_all() -> None:
    """Ten images with an object each; detections right or wrong at random scores."""
    rng = np.random.default_rng(0)
    targets = from_images([[(BOX, 0, False, 1e4, None)]] * 10, [(600, 600)] * 10)
    found, flat = [], []
    for _ in range(10):
        right, wrong = rng.random(2).round(3)
        found.append(detected((BOX, 0, right), ((400, 400, 450, 450), 0, wrong)))
        flat += [(right, True), (wrong, False)]

    def f1(threshold: float) -> float:
        hits = sum(correct for score, correct in flat if score >= threshold)
        taken = sum(score >= threshold for score, _ in flat)
        return 2 * hits / (taken + 10)

    threshold, best = score_curve(targets, found).best()
    assert best == pytest.approx(max(f1(score) for score, _ in flat))
    assert f1(threshold) == pytest.approx(best)


def test_of_equal_scores_all_or_none_are_above_a_threshold() -> None:
    targets = from_images([[(BOX, 0, False, 1e4, None)]] * 2, [(600, 600)] * 2)
    found = [detected((BOX, 0, 0.5)), detected(((400, 400, 450, 450), 0, 0.5))]
    curve = score_curve(targets, found)
    assert curve.thresholds.tolist() == [0.5]
    assert (curve.precision.tolist(), curve.recall.tolist()) == ([0.5], [0.5])


def test_nothing_found_has_no_threshold() -> None:
    targets = image((BOX, 0))
    assert score_curve(targets, [detected()]).best() == (0.5, 0.0)
