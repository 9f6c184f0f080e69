"""Counts of pixels and what follows from them, against loops over pixels, SciPy and closed forms."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from skipway.data.mask_targets import IGNORE
from skipway.tasks.segment.confusion import (
    TOLERANCE,
    boundaries,
    boundary_counts,
    boundary_f,
    calibration_bins,
    calibration_error,
    class_accuracy,
    class_iou,
    confusion_matrix,
    mean_of,
    miou,
    near,
    pixel_accuracy,
)


def label_maps(seed: int, classes: int = 4, shape: tuple[int, int] = (23, 31)) -> tuple[torch.Tensor, torch.Tensor]:
    """Truth, a tenth of it ignored, and a prediction that agrees with most of it."""
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.integers(0, classes, (10, 10)), np.ones((8, 8), dtype=int))[: shape[0], : shape[1]]
    predicted = np.where(rng.random(shape) < 0.2, rng.integers(0, classes, shape), truth)
    truth = np.where(rng.random(shape) < 0.1, IGNORE, truth)
    return torch.from_numpy(truth.astype(np.uint8)), torch.from_numpy(predicted.astype(np.uint8))


def test_the_matrix_counts_every_pixel_that_is_not_ignored() -> None:
    truth, predicted = label_maps(0)
    expected = np.zeros((4, 4), dtype=int)
    for t, p in zip(truth.flatten().tolist(), predicted.flatten().tolist(), strict=True):
        if t != IGNORE:
            expected[t, p] += 1
    assert confusion_matrix(truth, predicted, 4).tolist() == expected.tolist()


def test_what_is_predicted_for_ignored_pixels_changes_nothing() -> None:
    truth, predicted = label_maps(1)
    other = torch.where(truth == IGNORE, 3 - predicted, predicted)
    confidence = torch.rand(truth.shape)
    assert torch.equal(confusion_matrix(truth, predicted, 4), confusion_matrix(truth, other, 4))
    assert torch.equal(boundary_counts(truth, predicted, 4), boundary_counts(truth, other, 4))
    assert torch.equal(calibration_bins(truth, predicted, confidence), calibration_bins(truth, other, confidence))


def test_the_sum_over_parts_is_all_at_once() -> None:
    truth, predicted = label_maps(2)
    parts = sum(confusion_matrix(truth[i : i + 1], predicted[i : i + 1], 4) for i in range(len(truth)))
    assert torch.equal(parts, confusion_matrix(truth, predicted, 4))


def test_iou_and_accuracy_are_those_of_sets_of_pixels() -> None:
    truth, predicted = (part.numpy() for part in label_maps(3))
    valid = truth != IGNORE
    iou = [
        np.sum((truth == c) & (predicted == c)) / np.sum(valid & ((truth == c) | (predicted == c))) for c in range(4)
    ]
    accuracy = [np.mean(predicted[truth == c] == c) for c in range(4)]
    found = confusion_matrix(torch.from_numpy(truth), torch.from_numpy(predicted), 4).numpy()
    np.testing.assert_allclose(class_iou(found), iou, rtol=1e-12)
    np.testing.assert_allclose(class_accuracy(found), accuracy, rtol=1e-12)
    assert miou(found) == pytest.approx(np.mean(iou), rel=1e-12)
    assert pixel_accuracy(found) == pytest.approx(np.mean(predicted[valid] == truth[valid]), rel=1e-12)


def test_an_absent_class_leaves_the_mean_and_a_predicted_one_does_not() -> None:
    absent = np.array([[8, 2, 0], [0, 10, 0], [0, 0, 0]])
    assert np.isnan(class_iou(absent)[2])
    assert miou(absent) == pytest.approx((8 / 10 + 10 / 12) / 2)
    predicted = np.array([[8, 1, 1], [0, 10, 0], [0, 0, 0]])
    assert miou(predicted) == pytest.approx((8 / 10 + 10 / 11 + 0) / 3)
    assert mean_of(np.array([np.nan, np.nan])) == 0


def test_near_is_a_distance_of_at_most_the_radius() -> None:
    rng = np.random.default_rng(0)
    ours, theirs = rng.random((2, 29, 37)) < 0.02
    for radius in (1, 2, 5):
        expected = int((ours & (distance_transform_edt(~theirs) <= radius)).sum())
        assert near(np.argwhere(ours), np.argwhere(theirs), radius) == expected
    assert near(np.argwhere(ours), np.empty((0, 2)), 3) == 0


def test_a_boundary_is_where_a_neighbour_has_another_class() -> None:
    labels = np.random.default_rng(1).integers(0, 3, (9, 11)).astype(np.uint8)
    expected = np.zeros((9, 11), dtype=bool)
    for y, x in np.ndindex(labels.shape):
        beside = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
        values = [labels[i, j] for i, j in beside if 0 <= i < 9 and 0 <= j < 11]
        expected[y, x] = any(value != labels[y, x] for value in values)
    assert boundaries(labels).tolist() == expected.tolist()


def test_boundary_counts_are_those_of_distance_transforms() -> None:
    truth, predicted = (part.numpy() for part in label_maps(5, shape=(60, 80)))
    found = boundary_counts(torch.from_numpy(truth), torch.from_numpy(predicted), 4).numpy()
    ignored = truth == IGNORE
    beside = distance_transform_edt(~ignored) <= 1
    mine = np.where(ignored, IGNORE, predicted)
    radius = round(TOLERANCE * np.hypot(60, 80))
    for label in range(4):
        ours = boundaries(mine) & (mine == label) & ~beside
        theirs = boundaries(truth) & (truth == label) & ~beside
        to_theirs, to_ours = (distance_transform_edt(~one) for one in (theirs, ours))
        expected = [
            (ours & (to_theirs <= radius)).sum(),
            ours.sum(),
            (theirs & (to_ours <= radius)).sum(),
            theirs.sum(),
        ]
        assert found[label].tolist() == expected


def square(left: int) -> torch.Tensor:
    """A square of class 1 whose left side is at `left`, on 200 x 200 pixels of class 0."""
    labels = torch.zeros(200, 200, dtype=torch.uint8)
    labels[60:120, left : left + 60] = 1
    return labels


def test_a_boundary_off_by_the_tolerance_is_right_and_by_more_is_not() -> None:
    radius = round(TOLERANCE * np.hypot(200, 200))
    perfect, shifted = (boundary_f(boundary_counts(square(60), square(60 + by), 2).numpy()) for by in (0, radius))
    assert perfect.tolist() == [1, 1]
    assert shifted.tolist() == [1, 1]
    assert (boundary_f(boundary_counts(square(60), square(61 + radius), 2).numpy()) < 0.8).all()
    assert np.isnan(boundary_f(np.zeros((1, 4), dtype=int))).all()


def test_calibration_bins_are_those_of_a_loop_and_the_error_is_that_of_its_definition() -> None:
    truth, predicted = label_maps(4)
    confidence = torch.rand(truth.shape, generator=torch.Generator().manual_seed(0))
    confidence[0, :2] = torch.tensor([0.0, 1.0])
    expected = np.zeros((15, 3))
    for t, p, c in zip(*(part.flatten().tolist() for part in (truth, predicted, confidence)), strict=True):
        if t != IGNORE:
            expected[min(int(c * 15), 14)] += (1, c, t == p)
    found = calibration_bins(truth, predicted, confidence).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    held = expected[:, 0] > 0
    gaps = np.abs(expected[held, 1] / expected[held, 0] - expected[held, 2] / expected[held, 0])
    assert calibration_error(found) == pytest.approx(np.sum(gaps * expected[held, 0]) / expected[:, 0].sum())
