"""Study of learning the identity."""

from typing import Any

import pytest
import torch
from studied import Tiny
from twins import shaken

from skipway import models
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.identity import (
    KINDS,
    STUDY,
    StackTraining,
    make_identity,
    same_scores,
    train_stack,
    with_identity_units,
)


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


def findings(plain: tuple[float, float], residual: float) -> dict[str, Any]:
    stacks = [
        {"kind": kind, "depth": depth, "seed": seed, "lost": value + seed / 1000, "curve": [[0, 1.0], [4, value]]}
        for seed in (0, 1)
        for kind, depth, value in (
            ("plain", 1, plain[0]),
            ("plain", 8, plain[1]),
            ("residual", 1, residual),
            ("residual", 8, residual),
        )
    ]
    return {"copies": [{"kind": "plain", "seed": 0, "difference": 1e-6}], "stacks": stacks}


def states(found: dict[str, Any], scale: str) -> list[str]:
    return [verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), SCALES[scale], found)]


def test_verdicts_follow_the_measurements() -> None:
    assert states(findings((0.01, 0.9), 0.02), "small") == ["holds", "holds", "holds"]
    assert states(findings((0.9, 0.01), 0.02), "paper") == ["holds", "does not hold", "does not hold"]
    assert states(findings((0.2, 0.9), 0.3), "paper") == ["holds", "holds", "does not hold"]


def test_short_training_does_not_refute() -> None:
    assert states(findings((0.9, 0.01), 0.3), "small") == ["holds", "not decided", "not decided"]


def test_the_study_runs(tiny: Tiny) -> None:
    result = tiny("identity")
    assert [verdict.state for verdict in result.verdicts] == ["holds", "not decided", "not decided"]
    assert len(result.findings["stacks"]) == 4
