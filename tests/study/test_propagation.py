"""Study of signals as sums."""

from typing import Any

import pytest
import torch
from studied import Tiny
from torch import nn
from twins import shaken

from skipway import models
from skipway.study.engine.report import png
from skipway.study.engine.scale import SCALES
from skipway.study.experiments import degradation
from skipway.study.experiments.propagation import BARE, FIRST_STAGE, STUDY
from skipway.study.networks.registry import register_study_networks
from skipway.study.probes.activations import cross_entropy, forward_hooks
from skipway.study.probes.branch_sums import (
    identity_units,
    sum_errors,
    truncated_shares,
    unit_gradients,
    with_small_weights,
)

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


def test_truncated_values_are_the_zeros_of_a_units_output() -> None:
    net = shaken(models.build("resnet20")).double().eval()
    zeros: list[float] = []

    def count(unit: nn.Module, x: torch.Tensor, out: torch.Tensor) -> None:
        zeros.append(100 * (out == 0).double().mean().item())

    x = images()
    with torch.no_grad(), forward_hooks([unit for stage in net.stages for unit in net.get_submodule(stage)], count):
        net(x)
    found = truncated_shares(net, x)
    assert len(found) == 9
    assert found == pytest.approx(zeros, abs=0.01)
    assert max(found) > 5


def ratio(model: str) -> float:
    """The gradient after the first unit divided by that after the last of the first stage, with small weights."""
    register_study_networks()
    net = with_small_weights(models.build(model, channels=3)).double()
    found = unit_gradients(net, images(), cross_entropy(LABELS))
    assert found[-1] == 1
    return found[0] / found[FIRST_STAGE - 1]


def test_small_weights_preserve_the_gradient_only_with_shortcuts() -> None:
    assert ratio(BARE["identity"]) == pytest.approx(1, abs=0.01)
    assert (
        0 < ratio(BARE["plain"]) < 1e-9
    )  # two units of two convolutions, a thousandth each: 1e-12 but for the weights


def found(
    largest: float, start: float, end: float, shallow: float, seeds: int = 3, exact: float = 1e-16, kept: float = 1.0
) -> dict[str, Any]:
    """largest: difference from the sum; start, end, shallow: shares of sums below zero in per cent, of 56 layers before
    and after training and of 20 after; exact, kept: what the checks read."""
    rows: list[dict[str, Any]] = []
    shares = []
    small = []
    for i in range(seeds):
        noise = i / 100
        for kind, value in (("identity", exact), ("rectified", largest + noise)):
            rows.append({"kind": kind, "seed": i, "forward": [[value]], "backward": [[value]]})
        for model, first, last in (("resnet56", start, end), ("resnet20", start, shallow)):
            shares.append({"model": model, "seed": i, "start": [first] * 2, "end": [last + noise] * 2})
        small += [
            {"kind": kind, "seed": i, "gradients": [value, value, 1.0]}
            for kind, value in (("identity", kept), ("plain", 1e-12))
        ]
    return {"rows": rows, "truncated": shares, "small": small}


def states(findings: dict[str, Any], steps: int = 16_000) -> list[str]:
    return [verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), steps, findings)]


def test_little_truncation_that_training_reduces_and_depth_increases_supports_every_claim() -> None:
    assert states(found(0.1, start=40, end=20, shallow=10)) == ["supports"] * 3


def test_the_reverse_speaks_against_every_claim() -> None:
    assert states(found(3.0, start=20, end=30, shallow=40)) == ["speaks against"] * 3


def test_equal_shares_and_a_difference_at_the_limit_show_no_difference() -> None:
    assert states(found(0.49, start=20, end=20, shallow=20)) == ["no difference seen"] * 3


def test_two_seeds_few_steps_or_nothing_measured_decide_nothing() -> None:
    undecided = ["not trained enough to tell"] * 3
    assert states(found(3.0, 20, 30, 40, seeds=2)) == undecided
    assert states(found(3.0, 20, 30, 40), steps=999) == undecided
    assert states({"rows": [], "truncated": [], "small": []}) == undecided


def passed(findings: dict[str, Any]) -> list[bool]:
    return [check.passed for check in STUDY.run_checks(findings)]


def test_the_checks_fail_for_broken_sums_for_vanishing_gradients_and_where_nothing_was_measured() -> None:
    assert passed(found(3.0, 20, 30, 40)) == [True] * 3
    assert passed(found(3.0, 20, 30, 40, exact=1e-3)) == [False, False, True]
    assert passed(found(3.0, 20, 30, 40, kept=0.5)) == [True, True, False]
    assert passed({"rows": [], "truncated": [], "small": []}) == [False] * 3
    alike = found(3.0, 20, 30, 40)
    for row in alike["small"]:
        row["gradients"] = [1.0, 1.0, 1.0]
    assert passed(alike) == [True, True, False]  # without shortcuts the gradient must vanish


def test_the_networks_with_relu_after_the_addition_are_those_of_degradation() -> None:
    known = degradation.STUDY.plan(SCALES["small"])
    recipes = [recipe for recipe in STUDY.plan(SCALES["small"]) if recipe.model.startswith("resnet")]
    assert len(recipes) == 2
    assert all(recipe in known for recipe in recipes)


def test_the_study_runs_and_its_equations_hold_at_any_scale(tiny: Tiny) -> None:
    result = tiny("propagation")
    assert {verdict.state for verdict in result.verdicts} == {"not trained enough to tell"}
    assert [check.passed for check in result.checks] == [True] * 3
    assert [len(row["end"]) for row in result.findings["truncated"]] == [27, 9]
    assert png(result).startswith(b"\x89PNG")
