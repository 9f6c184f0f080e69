"""The loss of a network with auxiliary classifiers, and of one that prefers no class."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skipway.data.loader import Batch
from skipway.models import build
from skipway.models.base import ModelOutput
from skipway.tasks import TASKS
from skipway.tasks.classify.scores import ClassScores


def task_with(name: str, classes: str) -> ClassScores:
    task = TASKS[name].from_classes(tuple(classes))
    assert isinstance(task, ClassScores)
    return task


@pytest.mark.parametrize(("name", "even"), [("classify", np.log(10)), ("tag", np.log(2))])
def test_two_more_classifiers_count_three_tenths_each(name: str, even: float) -> None:
    task = task_with(name, "abcdefghij")
    outputs = ModelOutput(torch.randn(4, 10), (torch.randn(4, 10), torch.randn(4, 10)))
    targets = torch.tensor([0, 3, 9, 9]) if name == "classify" else torch.eye(10)[:4]
    first, second, third = (task.score_loss(one, targets).item() for one in (outputs.scores, *outputs.auxiliary))
    assert task.output_loss(outputs, targets).item() == pytest.approx(first + 0.3 * (second + third), rel=1e-5)
    assert task.chance_loss(outputs, targets).item() == pytest.approx(1.6 * even, rel=1e-5)
    smoothed = replace(task, label_smoothing=0.1)
    assert smoothed.chance_loss(outputs.scores, targets).item() == pytest.approx(even, rel=1e-5)


def test_a_fresh_googlenet_starts_near_the_loss_of_chance() -> None:
    net, images, targets = build("googlenet", classes=5).train(), torch.randn(2, 3, 64, 64), torch.tensor([0, 4])
    task = task_with("classify", "abcde")
    losses, outputs = task.loss(net, Batch(images, targets))
    assert isinstance(outputs, ModelOutput)
    even = task.chance_loss(outputs, targets).item()
    assert even == pytest.approx(1.6 * np.log(5), rel=1e-5)
    assert losses["loss"].item() == pytest.approx(even, rel=0.3)
