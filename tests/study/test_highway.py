"""Study of gated shortcuts."""

import math
from typing import Any

import numpy as np
import pytest
import torch
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
    openness,
    share_lowered,
)
from skipway.study.networks.registry import register_study_networks


def seeds(error: float, spread: float = 0.1) -> list[dict[str, Any]]:
    return [
        {"seed": i, "running": e, "train": e, "test": e, "diverged": ""}
        for i, e in enumerate((error - spread, error + spread))
    ]


def findings(highway: float = 8.8, lower: float = 0.9, open_: float = 0.05) -> dict[str, Any]:
    """The paper's errors, and these gates after training in two seeds."""
    errors = {IDENTITY: 6.61, HALF_OPEN: 25.0, CLOSED: 8.7, RESNET: 7.51, HIGHWAY: highway}
    gates = [{"lowered": lower, "end": {"mean": [0.1, 0.1], "open": [open_, open_]}}] * 2
    return {"nets": {label: seeds(error) for label, error in errors.items()}, "gates": {HIGHWAY: gates}}


def states(found: dict[str, Any], scale: str) -> dict[str, str]:
    return {
        verdict.claim: verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), SCALES[scale], found)
    }


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


def test_the_papers_own_errors_confirm_every_claim() -> None:
    assert set(states(findings(), "paper").values()) == {"holds"}


def test_the_reverse_refutes() -> None:
    found = states(findings(highway=5.0, lower=0.1, open_=0.6), "paper")
    assert [claim for claim, state in found.items() if state == "does not hold"] == ["highway", "biases", "sparse"]


def test_one_seed_does_not_decide_claims_about_gates() -> None:
    found = findings()
    found["gates"][HIGHWAY] = found["gates"][HIGHWAY][:1]
    assert states(found, "paper")["sparse"] == "not decided"


def test_the_study_runs_and_decides_nothing_from_seconds(tiny: Tiny) -> None:
    result = tiny("highway")
    assert {verdict.state for verdict in result.verdicts} == {"not decided"}
    costs = result.findings["costs"]
    for key in ("parameters", "multiply_adds"):  # the identity is the cheaper one, and not by much
        assert costs[IDENTITY][key] < costs[CLOSED][key] < 1.08 * costs[IDENTITY][key]
        assert costs[RESNET][key] < costs[HIGHWAY][key]
    start, end = (result.findings["gates"][CLOSED][0][moment]["mean"] for moment in ("start", "end"))
    assert len(start) == len(end) == 9
    assert max(start) < 0.1
    assert png(result).startswith(b"\x89PNG")
