"""The loss of a network that judges more than once, and of one that has not made up its mind."""

import numpy as np
import pytest
import torch

from skipway.models import build
from skipway.models.contract import Judged
from skipway.tasks import TASKS
from skipway.tasks.auxiliary import undecided


@pytest.mark.parametrize(("name", "even"), [("classify", np.log(10)), ("tag", np.log(2))])
def test_two_more_classifiers_count_three_tenths_each(name: str, even: float) -> None:
    task = TASKS[name](tuple("abcdefghij"))
    scores = Judged(torch.randn(4, 10), (torch.randn(4, 10), torch.randn(4, 10)))
    targets = torch.tensor([0, 3, 9, 9]) if name == "classify" else torch.eye(10)[:4]
    first, second, third = (task.loss(one, targets).item() for one in (scores.scores, *scores.auxiliary))
    assert task.loss(scores, targets).item() == pytest.approx(first + 0.3 * (second + third), rel=1e-5)
    assert task.loss(undecided(scores), targets).item() == pytest.approx(1.6 * even, rel=1e-5)
    assert task.loss(undecided(scores.scores), targets, smoothing=0.1).item() == pytest.approx(even, rel=1e-5)


def test_a_fresh_googlenet_starts_near_what_the_undecided_cost() -> None:
    net, targets = build("googlenet", classes=5).train(), torch.tensor([0, 4])
    outputs, task = net(torch.randn(2, 3, 64, 64)), TASKS["classify"](tuple("abcde"))
    assert isinstance(outputs, Judged)
    even = task.loss(undecided(outputs), targets).item()
    assert even == pytest.approx(1.6 * np.log(5), rel=1e-5)
    assert task.loss(outputs, targets).item() == pytest.approx(even, rel=0.3)
