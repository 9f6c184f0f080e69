"""Study of signals as sums."""

from typing import Any

import pytest
import torch
from studied import Tiny
from twins import shaken

from skipway import models
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.propagation import (
    PLAIN,
    STUDY,
    SUMMED,
    gradient_ratio,
    identity_units,
    sum_errors,
    with_small_weights,
)
from skipway.study.networks.registry import register_study_networks
from skipway.study.probes.activations import cross_entropy

LABELS = torch.arange(2)


def images() -> torch.Tensor:
    return torch.randn(2, 3, 16, 16, dtype=torch.float64)


def test_signals_and_gradients_are_sums_if_nothing_follows_the_addition() -> None:
    net = shaken(models.build("preresnet20")).double().eval()
    found = sum_errors(net, images(), cross_entropy(LABELS))
    assert max(max(stage) for way in found.values() for stage in way) < 1e-10
    assert [len(stage) for stage in found["forward"]] == [2, 2, 2]  # the first of each stage has another shortcut
    assert [len(stage) for stage in found["backward"]] == [1, 1, 1]


def test_they_are_not_sums_with_relu_after_the_addition() -> None:
    net = shaken(models.build("resnet20")).double().eval()
    found = sum_errors(net, images(), cross_entropy(LABELS))
    assert min(stage[-1] for way in found.values() for stage in way) > 0.01


def test_identity_units_are_those_that_pass_on_their_input() -> None:
    net = models.build("resnet20").double().eval()
    rows = identity_units(net, images())
    assert [[unit for unit, _ in row] for row in rows] == [
        list(net.layer1),
        list(net.layer2)[1:],
        list(net.layer3)[1:],
    ]


def left(model: str) -> float:
    register_study_networks()
    net = models.build(model, channels=3)
    return gradient_ratio(with_small_weights(net).double(), images(), cross_entropy(LABELS))


def test_small_weights_preserve_the_gradient_only_with_shortcuts() -> None:
    assert left(SUMMED) == pytest.approx(1, abs=0.01)
    assert 0 < left(PLAIN) < 1e-9  # two units of two convolutions, each by a thousandth: 1e-12 but for the weights


def found(rectified: float, kept: float, lost: float) -> dict[str, Any]:
    """Two seeds of each."""
    exact, broken = [[1e-16]], [[rectified]]
    rows = [
        {"kind": kind, "forward": way, "backward": way} for kind, way in (("identity", exact), ("rectified", broken))
    ]
    with_small_weights = [{"model": model, "left": value} for model, value in ((SUMMED, kept), (PLAIN, lost))]
    return {"rows": [*rows, *rows], "faint": [*with_small_weights, *with_small_weights]}


def test_contrary_sums_and_gradients_refute_the_claims() -> None:
    def states(findings: dict[str, Any]) -> list[str]:
        return [verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), SCALES["small"], findings)][2:]

    assert states(found(0.3, 1.0, 1e-12)) == ["holds", "holds"]
    assert states(found(0.01, 0.5, 1e-12)) == ["does not hold", "does not hold"]
    assert states(found(0.3, 1.0, 0.5)) == ["holds", "does not hold"]


def test_the_study_runs_and_its_equations_hold_at_any_scale(tiny: Tiny) -> None:
    states = {verdict.claim: verdict.state for verdict in tiny("propagation").verdicts}
    assert states == {"forward": "holds", "backward": "holds", "rectified": "not decided", "faint": "not decided"}
    assert list(states) == [claim.name for claim in STUDY.claims]
