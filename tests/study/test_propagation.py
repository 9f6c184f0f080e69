"""Signals as sums."""

import pytest
import torch
from studied import Tiny
from twins import shaken

from skipway import models
from skipway.study.propagation import STUDY, chains, faint, left_of_gradient, not_a_sum
from skipway.study.signals import cross_entropy

LABELS = torch.arange(2)


def images() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16, dtype=torch.float64)


def test_signals_and_gradients_are_sums_where_nothing_follows_the_addition() -> None:
    net = shaken(models.build("preresnet20")).double().eval()
    found = not_a_sum(net, images(), cross_entropy(LABELS))
    assert max(max(stage) for way in found.values() for stage in way) < 1e-10
    assert [len(stage) for stage in found["forward"]] == [2, 2, 2]  # the first of each stage has another shortcut
    assert [len(stage) for stage in found["backward"]] == [1, 1, 1]


def test_they_are_not_where_the_sum_is_rectified() -> None:
    net = shaken(models.build("resnet20")).double().eval()
    found = not_a_sum(net, images(), cross_entropy(LABELS))
    assert min(stage[-1] for way in found.values() for stage in way) > 0.01


def test_a_chain_is_units_that_hand_on_the_very_signal() -> None:
    net = models.build("resnet20").double().eval()
    rows = chains(net, images())
    assert [[unit for unit, _ in row] for row in rows] == [
        list(net.layer1),
        list(net.layer2)[1:],
        list(net.layer3)[1:],
    ]


def test_faint_weights_leave_a_residual_net_its_gradient() -> None:
    left = left_of_gradient(faint(models.build("preresnet20")), images().float(), cross_entropy(LABELS))
    assert left == pytest.approx(1, abs=0.1)


def test_the_study_runs_and_its_equations_hold_at_any_scale(tiny: Tiny) -> None:
    states = {verdict.claim: verdict.state for verdict in tiny("propagation").verdicts}
    assert states == {"forward": "holds", "backward": "holds", "rectified": "not decided", "faint": "not decided"}
    assert list(states) == [claim.name for claim in STUDY.claims]
