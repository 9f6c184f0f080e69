"""Study of gradients."""

from typing import Any

import numpy as np
import pytest
import torch
from studied import Tiny

from skipway import models
from skipway.study.engine.report import png
from skipway.study.engine.scale import SCALES
from skipway.study.experiments import degradation, gradients
from skipway.study.experiments.gradients import STUDY, profile, similarity, with_variance
from skipway.study.networks.registry import register_study_networks
from skipway.study.probes.activations import forward_and_backward, interpolate, neighbour_similarity, norms
from skipway.study.probes.known_gradients import ThreeUnits, analytic_gradients, measurement_error


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


SIMILAR = {"plain56": 0.0, "plain20": 0.1, "resnet56": 0.3, "resnet20": 0.6}
OTHER_WAY = {"plain56": 0.6, "plain20": 0.1, "resnet56": 0.3, "resnet20": 0.6}


def findings(gradient: list[float], alike: dict[str, float], count: int = 3, spread: float = 0.01) -> dict[str, Any]:
    """Rows of three seeds of plain56 with these gradients at each moment, and of all networks with these similarities
    before training."""
    rows = []
    for seed in range(count):
        factor = 1 + spread * seed
        scaled = [*(value * factor for value in gradient[:-1]), gradient[-1]]
        plain = {"model": "plain56", "seed": seed, "variance": 1.0, "gradient": scaled}
        rows += [{**plain, "moment": moment} for moment in gradients.MOMENTS]
        rows[-len(gradients.MOMENTS)]["alike"] = [alike["plain56"] + spread * seed]
        rows += [
            {
                "model": model,
                "moment": "start",
                "seed": seed,
                "variance": 1.0,
                "gradient": scaled,
                "alike": [alike[model] + spread * seed],
            }
            for model in ("plain20", "resnet56", "resnet20")
        ]
    return {"instrument": 1e-12, "rows": rows}


def states(found: dict[str, Any], steps: int = 4_000) -> list[str]:
    return [verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), steps, found)]


def test_healthy_norms_and_dissimilar_gradients_support_every_claim() -> None:
    assert states(findings([5.0, 0.5, 1.0], SIMILAR)) == ["supports"] * 3


def test_gradients_that_vanish_explode_or_stay_similar_speak_against_the_claims() -> None:
    assert states(findings([50.0, 0.01, 1.0], OTHER_WAY)) == ["speaks against"] * 3


def test_gradients_at_the_limit_show_no_difference() -> None:
    at_limit = findings([10.0 / 1.01, 0.1 / 1.01, 1.0], dict.fromkeys(SIMILAR, 0.3))
    assert states(at_limit) == ["no difference seen"] * 3


@pytest.mark.parametrize("unit", range(5))
@pytest.mark.parametrize(("value", "expected"), [(0.01, 0), (50.0, 1)])
def test_every_unit_counts_in_both_directions(unit: int, value: float, expected: int) -> None:
    gradient = [1.0] * 6
    gradient[unit] = value
    assert [state == "speaks against" for state in states(findings(gradient, SIMILAR))].index(True) == expected


@pytest.mark.parametrize("moment", gradients.MOMENTS)
def test_every_moment_counts(moment: str) -> None:
    found = findings([5.0, 0.5, 1.0], SIMILAR)
    for row in found["rows"]:
        if (row["model"], row["moment"]) == ("plain56", moment):
            row["gradient"] = [6_450.0, 50.0, 1.0]
    assert states(found)[:2] == ["supports", "speaks against"]


@pytest.mark.parametrize(("gradient", "alike"), [([5.0, 0.5, 1.0], SIMILAR), ([50.0, 0.01, 1.0], OTHER_WAY)])
def test_few_seeds_or_steps_decide_neither_way(gradient: list[float], alike: dict[str, float]) -> None:
    assert states(findings(gradient, alike, count=2)) == ["not trained enough to tell"] * 3
    # the last claim is about untrained networks
    assert states(findings(gradient, alike), steps=999)[:2] == ["not trained enough to tell"] * 2


def test_a_diverged_run_leaves_norms_undecided() -> None:
    found = findings([5.0, 0.5, 1.0], SIMILAR, count=4)
    found["rows"] = [
        row for row in found["rows"] if (row["model"], row["moment"], row["seed"]) != ("plain56", "end", 0)
    ]
    assert states(found) == [*["not trained enough to tell"] * 2, "supports"]
    assert "end" in STUDY.decide_claims(STUDY.claims_by_name(), 4_000, found)[0].reason


def scaled(bare: tuple[float, float, float], normal: tuple[float, float, float]) -> dict[str, Any]:
    """The ratio of first to last unit at three variances, with 27 units, without batch norm and with it."""
    rows = []
    for model, ratios in (("plain56_bare", bare), ("plain56", normal), ("resnet56", normal)):
        for variance, ratio in zip(gradients.VARIANCES, ratios, strict=True):
            common = {"model": model, "moment": "start", "seed": 0, "variance": variance}
            rows.append({**common, "gradient": [ratio, *[1.0] * 26]})
    return {"instrument": 1e-12, "rows": rows}


def passed(found: dict[str, Any]) -> list[bool]:
    return [check.passed for check in STUDY.run_checks(found)]


def test_checks_fail_on_broken_measurements() -> None:
    bare, normal = (0.1 * 2.0**-26, 0.1, 0.1 * 2.0**26), (8.0, 8.0, 8.1)
    assert passed(scaled(bare, normal)) == [True] * 3
    assert passed(scaled(bare, normal) | {"instrument": 1e-3}) == [False, True, True]
    assert passed(scaled((0.1, 0.1, 0.1), normal)) == [True, False, True]
    assert passed(scaled((0.0, 0.1, 0.1 * 2.0**26), normal)) == [True, False, True]
    assert passed(scaled(bare, (7.0, 8.0, 9.0))) == [True, True, False]


def test_the_runs_are_those_of_degradation_and_short_ones_of_the_same_images() -> None:
    for scale in ("small", "paper"):
        recipes = STUDY.plan(SCALES[scale])
        assert set(recipes[:4]) <= set(degradation.trainings(degradation.CIFAR, SCALES[scale]).values())
        assert len({(recipe.size, recipe.pad) for recipe in recipes}) == 1
        assert {recipe.lr for recipe in recipes[4:] if recipe.model.endswith("_bare")} == {0.01}


def test_the_study_runs_and_checks_its_measurement(tiny: Tiny) -> None:
    result = tiny("gradients")
    assert {check.check: check.passed for check in result.checks} == {
        "analytic": True,
        "scaled": True,
        "normalised": True,
    }
    assert {verdict.state for verdict in result.verdicts} == {"not trained enough to tell"}
    assert {row["moment"] for row in result.findings["rows"]} == {"start", "early", "end"}
    assert png(result).startswith(b"\x89PNG")
