"""Study of gradients."""

from typing import Any

import numpy as np
import pytest
import torch
from studied import Tiny

from skipway import models
from skipway.study.engine.scale import SCALES
from skipway.study.experiments import gradients
from skipway.study.experiments.gradients import (
    STUDY,
    ThreeUnits,
    analytic_gradients,
    measurement_error,
    profile,
    similarity,
    with_variance,
)
from skipway.study.networks.registry import register_study_networks
from skipway.study.probes.activations import forward_and_backward, interpolate, neighbour_similarity, norms


def test_measured_gradients_equal_analytic_ones_to_a_millionth() -> None:
    assert max(measurement_error(seed) for seed in range(10)) < 1e-6


def test_analytic_gradients_equal_finite_differences() -> None:
    net, x = ThreeUnits(4).double(), torch.randn(1, 4, 1, 1, dtype=torch.float64)
    first = net.layer1[0](x)
    slopes = []
    for i in range(4):
        step = torch.zeros_like(first)
        step[0, i] = 1e-6
        up, down = (net.layer1[1:](first + sign * step).sum() for sign in (1, -1))
        slopes.append(((up - down) / 2e-6).item())
    assert analytic_gradients(net, x.flatten(1).numpy())[0][0] == pytest.approx(np.array(slopes), rel=1e-6, abs=1e-8)


def test_norms_are_per_image() -> None:
    assert norms([torch.tensor([[3.0, 4.0], [0.0, 0.0]])]) == [pytest.approx((25 / 2) ** 0.5)]


def test_similarity_is_one_for_equal_neighbours_and_zero_for_orthogonal_ones() -> None:
    same, crossed = torch.ones(3, 2), torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert neighbour_similarity([same, crossed]) == [pytest.approx(1), pytest.approx(0)]


def test_interpolation_leads_from_one_image_to_the_other() -> None:
    first, last = torch.zeros(1, 2, 2), torch.ones(1, 2, 2)
    assert interpolate(first, last, 5).mean((1, 2, 3)).tolist() == [0, 0.25, 0.5, 0.75, 1]


def test_variance_scales_signals_only_without_batch_norm() -> None:
    images, labels = torch.randn(4, 3, 16, 16), torch.arange(4)
    register_study_networks()
    for model, expected in (("plain20_bare", 2 ** (19 / 2)), ("plain20", 1.0)):  # 19 convolutions, each sqrt(2)
        torch.manual_seed(0)
        before = profile(models.build(model), images, labels)["signal"][-1]
        torch.manual_seed(0)
        after = profile(with_variance(models.build(model), 2.0), images, labels)["signal"][-1]
        assert after / before == pytest.approx(expected, rel=1e-2)


def test_the_class_score_is_linear_in_the_last_units_output() -> None:
    images = torch.randn(2, 3, 16, 16)
    alike = similarity(models.build("resnet20"), images, 4)
    assert len(alike) == 9
    assert alike[-1] == pytest.approx(1, abs=1e-5)


def test_gradients_are_in_the_order_of_the_units() -> None:
    net = models.build("resnet20").eval()
    outputs, found = forward_and_backward(net, torch.randn(2, 3, 16, 16), lambda scores: scores[:, 0].sum())
    assert [tuple(g.shape) for g in found] == [tuple(o.shape) for o in outputs]
    by_formula = net.fc.weight[0] / 16  # of a mean over 4 x 4 positions
    assert torch.allclose(found[-1][0, :, 1, 2], by_formula, atol=1e-7)


def findings(ratio: float, bare: tuple[float, float, float], alike: dict[str, float]) -> dict[str, Any]:
    rows = [
        {"model": "plain56", "moment": moment, "seed": seed, "variance": 1.0, "gradient": [ratio, 1.0]}
        for moment in ("early", "end")
        for seed in (0, 1)
    ]
    for seed in (0, 1):
        for variance, value in zip(gradients.VARIANCES, bare, strict=True):
            common = {"moment": "start", "seed": seed, "variance": variance}
            rows.append({**common, "model": "plain56_bare", "gradient": [value, 1.0]})
            if variance != 1:
                rows.append({**common, "model": "plain56", "gradient": [ratio, 1.0]})
        rows += [
            {
                "model": m,
                "moment": "start",
                "seed": seed,
                "variance": 1.0,
                "gradient": [ratio, 1.0],
                "alike": [a + seed / 99],
            }
            for m, a in alike.items()
        ]
    return {"instrument": 1e-12, "rows": rows}


def test_verdicts_follow_the_measurements() -> None:
    likely = {"plain56": 0.0, "plain20": 0.1, "resnet56": 0.3, "resnet20": 0.6}
    found = findings(5.0, (1e-9, 0.1, 1e7), likely)
    assert [v.state for v in STUDY.decide_claims(STUDY.claims_by_name(), SCALES["small"], found)] == ["holds"] * 4
    found = findings(0.01, (0.5, 0.5, 0.5), {**likely, "plain56": 0.9})
    assert [v.state for v in STUDY.decide_claims(STUDY.claims_by_name(), SCALES["small"], found)] == [
        "holds",
        *["does not hold"] * 3,
    ]


def test_a_diverged_run_leaves_vanishing_gradients_undecided() -> None:
    found = findings(5.0, (1e-9, 0.1, 1e7), {"plain56": 0.0, "plain20": 0.1, "resnet56": 0.3, "resnet20": 0.6})
    found["rows"] = [row for row in found["rows"] if (row["moment"], row["seed"]) != ("end", 0)]
    states = [v.state for v in STUDY.decide_claims(STUDY.claims_by_name(), SCALES["small"], found)]
    assert states == ["holds", "not decided", "holds", "holds"]


def test_the_study_runs_and_checks_its_measurement(tiny: Tiny) -> None:
    result = tiny("gradients")
    states = {verdict.claim: verdict.state for verdict in result.verdicts}
    assert states.pop("instrument") == "holds"
    assert set(states.values()) == {"not decided"}
    assert {row["moment"] for row in result.findings["rows"]} == {"start", "early", "end"}
