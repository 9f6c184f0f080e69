"""Study of gated shortcuts."""

import math
from bisect import bisect_right
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from studied import Tiny

from skipway import models
from skipway.models.highway import Highway
from skipway.study.engine.report import png
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.highway import (
    CLOSED,
    HALF_OPEN,
    HIGHWAY,
    IDENTITY,
    RESNET,
    STUDY,
    gates_of,
    kept_by_decay,
    openness,
    recipes,
    share_lowered,
)
from skipway.study.networks.registry import register_study_networks

PAPER = {IDENTITY: 6.61, HALF_OPEN: 25.0, CLOSED: 8.7, RESNET: 7.51, HIGHWAY: 8.8}
OTHER_WAY = {IDENTITY: 9.0, HALF_OPEN: 7.0, CLOSED: 8.0, RESNET: 8.8, HIGHWAY: 7.5}
EQUAL = dict.fromkeys(PAPER, 8.0)
STEPS = 4_000


def seeds(error: float, count: int, spread: float = 0.1) -> list[dict[str, Any]]:
    return [
        {"seed": i, "running": e, "train": e, "test": e, "diverged": ""}
        for i, e in enumerate(error + spread * (i - (count - 1) / 2) for i in range(count))
    ]


def findings(errors: dict[str, float], lower: float, end: float, count: int = 3) -> dict[str, Any]:
    """Errors by network; the share of biases lowered, and the mean gate after training, of the highway network."""
    gates = [
        {
            "start": {"mean": [0.05, 0.05]},
            "end": {"mean": [end + i / 1000] * 2},
            "lowered": 0.0,
            "lowered_beyond_decay": lower + i / 100,
        }
        for i in range(count)
    ]
    return {"nets": {label: seeds(error, count) for label, error in errors.items()}, "gates": {HIGHWAY: gates}}


def states(found: dict[str, Any], steps: int = STEPS) -> dict[str, str]:
    return {verdict.claim: verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), steps, found)}


def test_openness_is_the_sigmoid_of_the_gates_convolution() -> None:
    torch.manual_seed(0)
    layer, images = Highway(3, 1, bias=-1), torch.randn(4, 3, 5, 5)
    found = openness(layer, images)
    weight, bias = (p.detach().numpy() for p in (layer.gate.weight[:, :, 0, 0], layer.gate.bias))
    gate = 1 / (1 + np.exp(-(np.einsum("oc,nchw->nohw", weight, images.numpy()) + bias[:, None, None])))
    assert found == {
        "mean": [pytest.approx(gate.mean(), abs=1e-4)],
        "open": [pytest.approx((gate > 0.5).mean(), abs=1e-4)],
    }


@pytest.mark.parametrize(
    ("name", "bias", "count"),
    [("highway32", -3, 27), ("resnet20_exclusive_gate", -6, 9), ("resnet20_exclusive_gate0", 0, 9)],
)
def test_gates_are_found_in_every_unit_and_start_at_their_biases(name: str, bias: float, count: int) -> None:
    register_study_networks()
    net = models.build(name).eval()
    for gate in gates_of(net):
        torch.nn.init.zeros_(gate.weight)
    found = openness(net, torch.randn(2, 3, 8, 8))
    assert found["mean"] == [pytest.approx(1 / (1 + math.exp(-bias)), abs=1e-4)] * count


def test_share_lowered_counts_biases() -> None:
    before, after = Highway(4, 1, bias=-2), Highway(4, 1, bias=-2)
    assert after.gate.bias is not None
    with torch.no_grad():
        after.gate.bias[:3] -= 0.1
    assert share_lowered(before, after) == 0.75
    assert share_lowered(before, after, kept=1.1) == 0  # not below -2.2


def test_weight_decay_keeps_what_sgd_keeps() -> None:
    recipe = recipes(SCALES["small"])[HIGHWAY]
    weight = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))
    sgd = torch.optim.SGD([weight], lr=1.0, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    for step in range(recipe.iterations):
        sgd.param_groups[0]["lr"] = (
            recipe.lr * recipe.factors[bisect_right(recipe.milestones, step / recipe.iterations)]
        )
        weight.grad = torch.zeros_like(weight)
        sgd.step()
    assert kept_by_decay(recipe) == pytest.approx(weight.item(), rel=1e-3)


def test_what_the_papers_report_supports_every_claim() -> None:
    assert set(states(findings(PAPER, lower=0.9, end=0.02)).values()) == {"supports"}


def test_the_reverse_speaks_against_every_claim() -> None:
    assert set(states(findings(OTHER_WAY, lower=0.1, end=0.08)).values()) == {"speaks against"}


def test_no_effect_shows_no_difference() -> None:
    assert set(states(findings(EQUAL, lower=0.49, end=0.05)).values()) == {"no difference seen"}


@pytest.mark.parametrize(("errors", "lower", "end"), [(PAPER, 0.9, 0.02), (OTHER_WAY, 0.1, 0.08)])
@pytest.mark.parametrize(("count", "steps"), [(2, STEPS), (1, STEPS), (3, 999)])
def test_few_seeds_or_steps_decide_neither_way(
    errors: dict[str, float], lower: float, end: float, count: int, steps: int
) -> None:
    assert set(states(findings(errors, lower, end, count), steps).values()) == {"not trained enough to tell"}


def test_a_diverged_seed_leaves_the_gates_undecided() -> None:
    found = findings(PAPER, lower=0.9, end=0.02, count=4)
    found["gates"][HIGHWAY].pop()
    decided = states(found)
    assert decided["biases"] == decided["closing"] == "not trained enough to tell"
    assert decided["highway"] == "supports"


@pytest.mark.parametrize(("start", "passed"), [(0.05, True), (0.5, False), (0.0, False)])
def test_gates_that_start_elsewhere_fail_the_check(start: float, passed: bool) -> None:
    found = {"gates": {CLOSED: [{"start": {"mean": [0.0025]}}], HALF_OPEN: [], HIGHWAY: [{"start": {"mean": [start]}}]}}
    assert [check.passed for check in STUDY.run_checks(found)] == [passed]


def test_equal_runs_are_drawn_once() -> None:
    found = findings({**PAPER, RESNET: PAPER[IDENTITY]}, lower=0.9, end=0.02) | {"layers": 32}
    found["gates"] |= {CLOSED: [], HALF_OPEN: []}
    figure = Figure()
    STUDY.draw(found, figure)
    rows = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(rows) == len(set(rows)) == 4


def test_the_study_runs_and_decides_nothing_from_seconds(tiny: Tiny) -> None:
    result = tiny("highway")
    assert {verdict.state for verdict in result.verdicts} == {"not trained enough to tell"}
    assert [check.passed for check in result.checks] == [True]
    costs = result.findings["costs"]
    for key in ("parameters", "multiply_adds"):  # the identity is the cheaper one, and not by much
        assert costs[IDENTITY][key] < costs[CLOSED][key] < 1.08 * costs[IDENTITY][key]
        assert costs[RESNET][key] < costs[HIGHWAY][key]
    start, end = (result.findings["gates"][CLOSED][0][moment]["mean"] for moment in ("start", "end"))
    assert len(start) == len(end) == 9
    assert max(start) < 0.1
    assert png(result).startswith(b"\x89PNG")
