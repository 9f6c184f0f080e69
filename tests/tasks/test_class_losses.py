"""Focal loss and the loss of distillation against closed forms, torch and torchvision."""

import numpy as np
import pytest
import torch
from torch.nn import functional
from torchvision.ops import sigmoid_focal_loss

from skipway.models.base import ModelOutput
from skipway.tasks.classify.losses import sigmoid_focal, softmax_distillation, softmax_focal
from skipway.tasks.classify.task import Classify
from skipway.tasks.tag.task import Tag

CLASSES = ("a", "b", "c")
SCORES = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, -0.3]])
LABELS = torch.tensor([0, 2])
TAGS = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])


def softmax(row: list[float]) -> np.ndarray:
    powers = np.exp(np.array(row, dtype=np.float64))
    return powers / powers.sum()


def test_focal_is_cross_entropy_times_the_square_of_what_is_missing() -> None:
    chances = [softmax(row)[label] for row, label in zip(SCORES.tolist(), LABELS.tolist(), strict=True)]
    expected = np.mean([-((1 - p) ** 2) * np.log(p) for p in chances])
    assert Classify(CLASSES, focal=True).score_loss(SCORES, LABELS).item() == pytest.approx(expected, rel=1e-5)


def test_focal_with_class_weights_multiplies_what_each_class_costs() -> None:
    weights = torch.tensor([0.5, 1.0, 3.0])
    one, other = (softmax_focal(SCORES[i : i + 1], functional.one_hot(LABELS[i : i + 1], 3), None) for i in (0, 1))
    found = Classify(CLASSES, class_weights=weights, focal=True).score_loss(SCORES, LABELS)
    torch.testing.assert_close(found, (0.5 * one + 3 * other) / 2)


def test_focal_of_tags_is_torchvisions() -> None:
    expected = sigmoid_focal_loss(SCORES, TAGS, alpha=-1, gamma=2, reduction="mean")
    torch.testing.assert_close(Tag(CLASSES, focal=True).score_loss(SCORES, TAGS), expected)
    p = 1 / (1 + np.exp(-SCORES.double().numpy()))
    right = np.where(TAGS.numpy() > 0, p, 1 - p)
    closed = (-((1 - right) ** 2) * np.log(right)).mean()
    assert sigmoid_focal(SCORES, TAGS, None).item() == pytest.approx(closed, rel=1e-5)


def test_weights_of_tags_count_where_the_tag_is_present() -> None:
    weights = torch.tensor([2.0, 5.0, 1.0])
    each = sigmoid_focal_loss(SCORES, TAGS, alpha=-1, gamma=2)
    present = each * torch.where(TAGS > 0, weights, 1.0)
    torch.testing.assert_close(sigmoid_focal(SCORES, TAGS, weights), present.mean())


@pytest.mark.parametrize("task", [Classify(CLASSES, focal=True), Tag(CLASSES, focal=True)])
def test_evaluation_reports_cross_entropy(task: Classify | Tag) -> None:
    plain = task.unweighted()
    targets = TAGS if isinstance(task, Tag) else LABELS
    expected = functional.binary_cross_entropy_with_logits if isinstance(task, Tag) else functional.cross_entropy
    torch.testing.assert_close(plain.score_loss(SCORES, targets), expected(SCORES, targets))


def test_distillation_is_the_divergence_of_the_softened_probabilities_times_the_square_of_the_temperature() -> None:
    teacher, temperature = torch.tensor([[0.0, 1.0, 2.0], [3.0, -1.0, 0.0]]), 4.0
    sums = []
    for ours, theirs in zip(SCORES.tolist(), teacher.tolist(), strict=True):
        q, p = softmax([s / temperature for s in ours]), softmax([s / temperature for s in theirs])
        sums.append((p * (np.log(p) - np.log(q))).sum())
    expected = temperature**2 * np.mean(sums)
    found = Classify(CLASSES).distillation_loss(SCORES, teacher, temperature)
    assert found.item() == pytest.approx(expected, rel=1e-4)
    outputs = ModelOutput(SCORES, (teacher,))
    torch.testing.assert_close(Classify(CLASSES).distillation_loss(outputs, teacher, temperature), found)


def test_at_a_high_temperature_its_gradient_is_the_difference_of_the_scores() -> None:
    """Hinton 2015, equation 4: (z - v) / C for scores of mean 0, whatever the temperature."""
    generator = torch.Generator().manual_seed(0)
    ours, theirs = (torch.randn(1, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    ours, theirs = ours - ours.mean(), theirs - theirs.mean()
    ours.requires_grad_()
    softmax_distillation(ours, theirs, 1e4).backward()
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, (ours.detach() - theirs) / 5, rtol=1e-3, atol=1e-5)


def test_a_network_that_equals_its_teacher_has_nothing_to_learn_from_it() -> None:
    for task in (Classify(CLASSES), Tag(CLASSES)):
        assert task.distillation_loss(SCORES, SCORES, 4.0).item() == pytest.approx(0, abs=1e-6)
        assert task.distillation_loss(SCORES, SCORES + torch.tensor([1.0, 0, 0]), 4.0) > 0
