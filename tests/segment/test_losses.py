"""Losses of label maps, against torch's own, loops and closed forms."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from skipway.data.mask_targets import IGNORE
from skipway.tasks.segment.losses import (
    CRITERIA,
    cross_entropy,
    cross_entropy_dice,
    dice,
    focal,
    median_frequency_weights,
)


def batch(classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    labels = torch.randint(classes, (2, 5, 7))
    labels[0, 0, :4] = IGNORE
    return torch.randn(2, classes, 5, 7, requires_grad=True), labels


def test_cross_entropy_is_torchs_mean_with_and_without_weights() -> None:
    logits, labels = batch()
    for weights in (None, torch.tensor([0.2, 1.0, 3.0])):
        expected = functional.cross_entropy(logits, labels, weights, ignore_index=IGNORE)
        torch.testing.assert_close(cross_entropy(logits, labels, weights), expected)


def test_focal_is_cross_entropy_times_the_square_of_what_is_missing() -> None:
    logits, labels = batch()
    probabilities, total, count = logits.softmax(1), 0.0, 0
    for n, y, x in np.ndindex(labels.shape):
        if labels[n, y, x] != IGNORE:
            p = probabilities[n, labels[n, y, x], y, x].item()
            total, count = total - (1 - p) ** 2 * np.log(p), count + 1
    assert focal(logits, labels, None).item() == pytest.approx(total / count, rel=1e-5)
    ones, weights = torch.ones(3), torch.tensor([0.5, 1.0, 4.0])
    torch.testing.assert_close(focal(logits, labels, ones), focal(logits, labels, None))
    # a batch of one class: its weight is in both the sum and what it is divided by
    alone = torch.full_like(labels, 2)
    torch.testing.assert_close(focal(logits, alone, weights), focal(logits, alone, None))
    assert focal(logits, labels, weights) != focal(logits, labels, None)


def test_dice_is_0_for_a_certain_truth_and_near_1_for_the_opposite() -> None:
    labels = torch.tensor([[[0, 0, 1, IGNORE]]])
    certain = torch.tensor([[[[9.0, 9, -9, 9]], [[-9.0, -9, 9, -9]]]]) * 10
    assert dice(certain, labels, None).item() == pytest.approx(0, abs=1e-6)
    assert dice(-certain, labels, None).item() == pytest.approx(1, abs=1e-6)
    even = dice(torch.zeros(1, 2, 1, 4), labels, None).item()
    assert even == pytest.approx(1 - (2 * 1.0 / (1.5 + 2) + 2 * 0.5 / (1.5 + 1)) / 2, rel=1e-6)


@pytest.mark.parametrize("name", CRITERIA)
def test_ignored_pixels_have_no_gradient_and_a_batch_without_others_is_finite(name: str) -> None:
    logits, labels = batch()
    CRITERIA[name](logits, labels, None).backward()
    assert logits.grad is not None
    assert (logits.grad[0, :, 0, :4] == 0).all()
    assert (logits.grad[1] != 0).any()
    ignored = torch.full_like(labels, IGNORE)
    loss = CRITERIA[name](logits, ignored, None)
    assert loss.item() == 0


def test_the_sum_of_two_losses_is_their_sum() -> None:
    logits, labels = batch()
    both = cross_entropy(logits, labels, None) + dice(logits, labels, None)
    torch.testing.assert_close(cross_entropy_dice(logits, labels, None), both)


def test_median_frequency_weights_make_a_class_of_median_frequency_count_once() -> None:
    # frequencies 0.1, 0.2 and 0.5; a fourth class without pixels
    pixels, beside = torch.tensor([10.0, 20, 100, 0]).double(), torch.tensor([100.0, 100, 200, 0]).double()
    torch.testing.assert_close(median_frequency_weights(pixels, beside), torch.tensor([2.0, 1.0, 0.4, 0.0]))


def test_a_few_stray_pixels_of_a_class_do_not_outweigh_everything() -> None:
    weights = median_frequency_weights(torch.tensor([1.0, 5e5, 5e5]).double(), torch.tensor([1e6] * 3).double())
    torch.testing.assert_close(weights, torch.tensor([20.0, 1.0, 1.0]))
