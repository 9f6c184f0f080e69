"""Layers that do nothing."""

from typing import Any

import pytest
import torch
from studied import Tiny
from twins import shaken

from skipway import models
from skipway.study.contract import SCALES
from skipway.study.identity import KINDS, STUDY, Lesson, do_nothing, lengthened, same_scores, taught


@pytest.mark.parametrize("model", ["plain20", "resnet20"])
def test_a_net_with_layers_that_do_nothing_gives_the_same_scores(model: str) -> None:
    net = shaken(models.build(model)).eval()
    twin = models.build(model)
    twin.load_state_dict(net.state_dict())
    deep = lengthened(twin, 6)
    convolutions = [m for m in deep.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 55
    assert same_scores(net, deep, torch.randn(2, 3, 16, 16)) < 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_unit_that_does_nothing_hands_on_what_is_not_negative(kind: str) -> None:
    unit, x = do_nothing(KINDS[kind]()).eval(), torch.rand(2, 16, 5, 5)
    assert torch.allclose(unit(x), x, atol=1e-5)


def test_a_stack_learns_and_the_same_seed_learns_the_same() -> None:
    maps = torch.rand(32, 16, 4, 4)
    lessons = [taught("residual", 1, Lesson((1,), 30, 8, 32), maps, maps[:8], 0) for _ in range(2)]
    assert lessons[0] == lessons[1]
    assert lessons[0]["lost"] < lessons[0]["curve"][0][1] / 2


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
    return [verdict.state for verdict in STUDY.judge(STUDY.named(), SCALES[scale], found)]


def test_verdicts_follow_the_measurements() -> None:
    assert states(findings((0.01, 0.9), 0.02), "small") == ["holds", "holds", "holds"]
    assert states(findings((0.9, 0.01), 0.02), "paper") == ["holds", "does not hold", "does not hold"]
    assert states(findings((0.2, 0.9), 0.3), "paper") == ["holds", "holds", "does not hold"]


def test_what_a_short_lesson_does_not_teach_a_longer_one_may() -> None:
    assert states(findings((0.9, 0.01), 0.3), "small") == ["holds", "not decided", "not decided"]


def test_the_study_runs(tiny: Tiny) -> None:
    result = tiny("identity")
    assert [verdict.state for verdict in result.verdicts] == ["holds", "not decided", "not decided"]
    assert len(result.findings["stacks"]) == 4
