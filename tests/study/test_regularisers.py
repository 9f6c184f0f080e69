"""Study of stochastic depth, squeeze-and-excitation, width and dropout."""

from typing import Any

import pytest
import torch
from studied import Tiny
from torch import nn

from skipway import models
from skipway.models.senet import SqueezeExcitation
from skipway.study.engine.report import png
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.regularisers import STUDY, labels, trainings
from skipway.study.networks.registry import register_study_networks

SMALL = labels("small")


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def build(name: str) -> nn.Module:
    register_study_networks()
    return models.build(name, 10, 3)


# ---------------------------------------------------------------------------------------------------------------------
# Networks


@pytest.mark.parametrize(("layers", "units"), [(32, 15), (110, 54)])
def test_squeeze_and_excitation_is_in_every_unit_and_adds_its_two_layers(layers: int, units: int) -> None:
    excited, residual = build(f"seresnet{layers}"), build(f"resnet{layers}")
    assert sum(isinstance(module, SqueezeExcitation) for module in excited.modules()) == units
    added = sum(2 * c * (c // 16) + c + c // 16 for c in (16, 32, 64)) * units // 3
    assert parameters(excited) - parameters(residual) == added


def test_the_wide_network_has_the_analytic_parameters_of_16_layers() -> None:
    """Zagoruyko 2016, Table 1: two units at each of the widths 32, 64 and 128, after a convolution of 16 channels."""
    count, c_in = 9 * 3 * 16 + 2 * 128 + 10 * 128 + 10, 16
    for c in (32, 64, 128):
        first = 9 * c_in * c + 9 * c * c + c_in * c + 2 * c_in + 2 * c
        count, c_in = count + first + 2 * 9 * c * c + 4 * c, c
    assert parameters(build("wrn16_2")) == count
    assert count <= parameters(build("preresnet56"))


def test_dropout_is_between_the_convolutions_of_every_unit_and_off_in_evaluation() -> None:
    net, images = build("wrn16_2_dropout"), torch.randn(2, 3, 16, 16)
    drops = [module for module in net.modules() if isinstance(module, nn.Dropout)]
    assert [drop.p for drop in drops] == [0.3] * 6
    assert parameters(net) == parameters(build("wrn16_2"))
    with torch.no_grad():
        net.eval()
        assert torch.equal(net(images), net(images))
        net.train()
        assert not torch.equal(net(images), net(images))


def test_only_one_training_has_stochastic_depth_and_all_have_one_recipe() -> None:
    for scale in SCALES.values():
        recipes = trainings(scale)
        dropped = [label for label, recipe in recipes.items() if recipe.survival < 1]
        assert dropped == [labels(scale.name)["stochastic"]]
        assert recipes[dropped[0]].survival == 0.5
        assert len({tuple({**vars(r), "model": "", "survival": 1.0}.items()) for r in recipes.values()}) == 1
    assert next(iter(trainings(SCALES["small"]).values())).iterations == 4_000


# ---------------------------------------------------------------------------------------------------------------------
# Verdicts


def runs(train: float, test: float, spread: float = 0.1, seeds: int = 3) -> list[dict[str, Any]]:
    """Seeds around these errors, whose gap is the same in all."""
    return [
        {"seed": i, "running": train + d, "train": train + d, "test": test + d, "curve": [], "diverged": ""}
        for i, d in enumerate((-spread, 0.0, spread)[:seeds])
    ]


def findings(
    errors: dict[str, tuple[float, float]], slow: float = 1.5, spread: float = 0.1, seeds: int = 3
) -> dict[str, Any]:
    """Training and test errors of the networks by what they are in the claims; slow: time of the thin over the wide."""
    named = {"thin": "preresnet56", "excited": "seresnet32", "residual": "resnet32", "wide": "wrn16_2"}
    networks = named | {"stochastic": "resnet32", "dropout": "wrn16_2_dropout"}
    costs = {model: {"parameters": 800_000, "multiply_adds": 70_000_000} for model in networks.values()}
    times = {model: [1.0, 1.0, 1.0] for model in named.values()}
    return {
        "machine": "a machine",
        "models": networks,
        "labels": SMALL,
        "nets": {SMALL[role]: runs(*of, spread, seeds) for role, of in errors.items()},
        "costs": costs,
        "times": times | {"preresnet56": [slow - 0.01, slow, slow + 0.01]},
    }


PAPERS = {
    "thin": (20.0, 25.0),
    "excited": (18.0, 23.0),
    "stochastic": (22.0, 23.0),
    "residual": (20.0, 25.0),
    "wide": (20.0, 22.0),
    "dropout": (20.0, 21.0),
}
CONTRARY = {
    "thin": (20.0, 21.0),
    "excited": (23.0, 27.0),
    "stochastic": (20.0, 28.0),
    "residual": (20.0, 25.0),
    "wide": (20.0, 22.0),
    "dropout": (20.0, 24.0),
}


def states(found: dict[str, Any], steps: int = 4_000) -> dict[str, str]:
    return {v.claim: v.state for v in STUDY.decide_claims(STUDY.claims_by_name(), steps, found)}


def test_errors_as_in_the_papers_support_every_claim_and_the_contrary_speaks_against_every_one() -> None:
    assert set(states(findings(PAPERS)).values()) == {"supports"}
    assert set(states(findings(CONTRARY, slow=0.7)).values()) == {"speaks against"}


def test_equal_networks_show_no_difference() -> None:
    equal = dict.fromkeys(PAPERS, (20.0, 25.0))
    assert set(states(findings(equal, slow=1.0)).values()) == {"no difference seen"}
    scattered = states(findings(PAPERS, spread=5.0))
    assert {claim for claim, state in scattered.items() if state == "no difference seen"} == {
        *("stochastic-test", "excitation-training", "excitation-test", "wide-test", "dropout-test")
    }


def test_two_seeds_or_few_steps_leave_only_time_decided() -> None:
    for errors, slow, time in ((PAPERS, 1.5, "supports"), (CONTRARY, 0.7, "speaks against")):
        for found in (states(findings(errors, slow, seeds=2)), states(findings(errors, slow), 999)):
            assert found.pop("wide-time") == time
            assert set(found.values()) == {"not trained enough to tell"}


def test_a_higher_error_with_a_smaller_gap_regularises_without_helping() -> None:
    found = states(findings(PAPERS | {"stochastic": (26.0, 27.0)}))
    assert (found["stochastic-gap"], found["stochastic-test"]) == ("supports", "speaks against")


def test_checks_fail_on_networks_that_cost_more() -> None:
    def passed(found: dict[str, Any]) -> list[bool]:
        return [check.passed for check in STUDY.run_checks(found)]

    found = findings(PAPERS)
    assert passed(found) == [True, True]
    found["costs"]["seresnet32"] = {"parameters": 800_000, "multiply_adds": 72_000_000}
    assert passed(found) == [False, True]
    found["costs"]["wrn16_2"] = {"parameters": 800_001, "multiply_adds": 70_000_000}
    assert passed(found) == [False, False]


# ---------------------------------------------------------------------------------------------------------------------
# The whole study


def test_the_study_runs_and_decides_nothing_from_seconds(tiny: Tiny) -> None:
    result = tiny("regularisers")
    assert {verdict.state for verdict in result.verdicts} == {"not trained enough to tell"}
    assert [check.passed for check in result.checks] == [True, True]
    assert list(result.findings["nets"]) == list(SMALL.values())
    assert result.findings["times"]["resnet32"] == [1.0]
    assert [row[0] for row in STUDY.table(result.findings).rows] == list(SMALL.values())
    assert png(result).startswith(b"\x89PNG")
    for model, cost in result.findings["costs"].items():
        register_study_networks()
        assert cost["parameters"] == parameters(models.build(model, 10, 1))
