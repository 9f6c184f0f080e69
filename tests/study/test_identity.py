"""Study of learning the identity."""

from typing import Any

import pytest
import torch
from studied import Tiny
from twins import shaken

from skipway import models
from skipway.study.engine.scale import SCALES
from skipway.study.experiments import degradation
from skipway.study.experiments.identity import STUDY, make_identity, same_scores, with_identity_units
from skipway.study.probes.identity_stacks import KINDS, StackTraining, train_stack


@pytest.mark.parametrize("model", ["plain20", "resnet20"])
def test_a_network_with_identity_units_gives_the_same_scores(model: str) -> None:
    net = shaken(models.build(model)).eval()
    copy = models.build(model)
    copy.load_state_dict(net.state_dict())
    deep = with_identity_units(copy, 6)
    convolutions = [m for m in deep.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 55
    assert same_scores(net, deep, torch.randn(2, 3, 16, 16)) < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_an_identity_unit_passes_on_non_negative_maps(kind: str) -> None:
    unit, x = make_identity(KINDS[kind]()).eval(), torch.rand(2, 16, 5, 5)
    assert torch.allclose(unit(x), x, atol=1e-5)


def test_a_stack_learns_and_is_reproducible_for_a_seed() -> None:
    maps = torch.rand(32, 16, 4, 4)
    train_stacks = [train_stack("residual", 1, StackTraining((1,), 30, 8, 32), maps, maps[:8], 0) for _ in range(2)]
    assert train_stacks[0] == train_stacks[1]
    assert train_stacks[0]["lost"] < train_stacks[0]["curve"][0][1] / 2


def findings(
    plain: tuple[float, float], residual: tuple[float, float], seeds: int = 3, steps: int = 2000
) -> dict[str, Any]:
    """The shares lost by one unit and by eight, of each kind."""
    stacks = [
        {"kind": kind, "depth": depth, "seed": i, "lost": lost + i / 1000, "curve": [[0, 1.0], [steps, lost]]}
        for i in range(seeds)
        for kind, of_kind in (("plain", plain), ("residual", residual))
        for depth, lost in zip((1, 8), of_kind, strict=True)
    ]
    return {"copies": [{"kind": "plain", "seed": 0, "difference": 1e-6}], "stacks": stacks}


def states(found: dict[str, Any]) -> list[str]:
    return [verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), 0, found)]


def test_plain_stacks_that_fail_and_residual_ones_that_learn_support_every_claim() -> None:
    assert states(findings((0.08, 0.9), (0.0, 0.03))) == ["supports"] * 3


def test_the_reverse_speaks_against_every_claim() -> None:
    assert states(findings((0.9, 0.08), (0.95, 0.9))) == ["speaks against"] * 3


def test_one_depth_that_fails_speaks_against_learning_at_every_depth() -> None:
    assert states(findings((0.2, 0.9), (0.0, 0.3))) == ["supports", "speaks against", "supports"]


def test_equal_losses_at_the_limit_show_no_difference() -> None:
    assert states(findings((0.099, 0.099), (0.099, 0.099))) == ["no difference seen"] * 3


def test_two_seeds_few_steps_or_no_stacks_decide_nothing() -> None:
    undecided = ["not trained enough to tell"] * 3
    assert states(findings((0.08, 0.9), (0.0, 0.03), seeds=2)) == undecided
    assert states(findings((0.08, 0.9), (0.0, 0.03), steps=500)) == undecided
    assert states({"copies": [], "stacks": []}) == undecided


def test_the_check_fails_for_scores_that_change_and_where_nothing_was_measured() -> None:
    found = findings((0.08, 0.9), (0.0, 0.03))
    assert [check.passed for check in STUDY.run_checks(found)] == [True]
    found["copies"].append({"kind": "residual", "seed": 0, "difference": 0.01})
    assert [check.passed for check in STUDY.run_checks(found)] == [False]
    assert [check.passed for check in STUDY.run_checks({"copies": [], "stacks": []})] == [False]


def test_the_networks_are_those_of_degradation() -> None:
    known = degradation.STUDY.plan(SCALES["small"])
    assert all(recipe in known for recipe in STUDY.plan(SCALES["small"]))


def test_the_study_runs(tiny: Tiny) -> None:
    result = tiny("identity")
    assert {verdict.state for verdict in result.verdicts} == {"not trained enough to tell"}
    assert [check.passed for check in result.checks] == [True]
    assert len(result.findings["stacks"]) == 4
