"""Signals as sums."""

from typing import Any

import pytest
import torch
from studied import Tiny
from twins import shaken

from skipway import models
from skipway.study.contract import SCALES
from skipway.study.networks import with_study_networks
from skipway.study.propagation import PLAIN, STUDY, SUMMED, chains, faint, left_of_gradient, not_a_sum
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


def left(model: str) -> float:
    with with_study_networks():
        net = models.build(model, channels=3)
    return left_of_gradient(faint(net).double(), images(), cross_entropy(LABELS))


def test_faint_weights_leave_a_residual_net_its_gradient_and_a_plain_one_next_to_nothing() -> None:
    assert left(SUMMED) == pytest.approx(1, abs=0.01)
    assert 0 < left(PLAIN) < 1e-9  # two units of two convolutions, each by a thousandth: 1e-12 but for the weights


def found(rectified: float, kept: float, lost: float) -> dict[str, Any]:
    """Two seeds of each."""
    exact, broken = [[1e-16]], [[rectified]]
    rows = [
        {"kind": kind, "forward": way, "backward": way} for kind, way in (("identity", exact), ("rectified", broken))
    ]
    faint = [{"model": model, "left": value} for model, value in ((SUMMED, kept), (PLAIN, lost))]
    return {"rows": [*rows, *rows], "faint": [*faint, *faint]}


def test_a_rectified_sum_that_is_one_and_gradients_that_behave_otherwise_speak_against_the_claims() -> None:
    def states(findings: dict[str, Any]) -> list[str]:
        return [verdict.state for verdict in STUDY.judge(STUDY.named(), SCALES["small"], findings)][2:]

    assert states(found(0.3, 1.0, 1e-12)) == ["holds", "holds"]
    assert states(found(0.01, 0.5, 1e-12)) == ["does not hold", "does not hold"]
    assert states(found(0.3, 1.0, 0.5)) == ["holds", "does not hold"]


def test_the_study_runs_and_its_equations_hold_at_any_scale(tiny: Tiny) -> None:
    states = {verdict.claim: verdict.state for verdict in tiny("propagation").verdicts}
    assert states == {"forward": "holds", "backward": "holds", "rectified": "not decided", "faint": "not decided"}
    assert list(states) == [claim.name for claim in STUDY.claims]
