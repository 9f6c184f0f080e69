"""Study of six families of networks."""

from typing import Any

import pytest
import torch
from studied import Tiny
from torch import nn

from skipway import models
from skipway.models.analysis.trace import layers
from skipway.models.base import Network
from skipway.study.engine.report import png
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.architectures import COUNTERPARTS, EQUAL, REFERENCE, STUDY, STYLES
from skipway.study.networks.cifar_families import UNITS
from skipway.study.networks.registry import register_study_networks
from skipway.study.probes.timing import ratios


def build(name: str, channels: int = 3) -> Network:
    register_study_networks()
    return models.build(name, 10, channels).eval()


def cost(net: Network) -> tuple[int, int]:
    """Parameters, and multiply-adds for an image of 32 pixels."""
    return sum(p.numel() for p in net.parameters()), sum(step.multiply_adds for step in layers(net, (3, 32, 32)))


@pytest.mark.parametrize("name", COUNTERPARTS)
@pytest.mark.parametrize(("channels", "side"), [(3, 32), (1, 8)])
def test_every_family_accepts_small_images_and_follows_the_contract(name: str, channels: int, side: int) -> None:
    net, images = build(name, channels), torch.randn(2, channels, side, side)
    with torch.no_grad():
        maps = net.features(images)
        assert torch.equal(net.classify(maps[-1]), net(images))
    shapes = [(c, side // stride, side // stride) for c, stride in zip(net.channels, net.strides, strict=True)]
    assert [tuple(m.shape[1:]) for m in maps] == shapes
    assert net(images).shape == (2, 10)
    assert net.smallest == net.strides[-1]


def test_the_costs_are_in_the_order_given_on_the_page() -> None:
    parameters, multiply_adds = ({n: cost(build(n))[i] for n in COUNTERPARTS} for i in (0, 1))
    assert max(multiply_adds, key=multiply_adds.__getitem__) == "vgg_small"
    assert max(multiply_adds[n] for n in EQUAL) < 1.1 * min(multiply_adds[n] for n in EQUAL)
    assert parameters["densenet_small"] / parameters["resnet20"] == pytest.approx(0.38, abs=0.01)
    assert parameters["alexnet_small"] / parameters["googlenet_small"] == pytest.approx(9.8, abs=0.5)
    linear = sum(
        p.numel() for m in build("alexnet_small").modules() if isinstance(m, nn.Linear) for p in m.parameters()
    )
    assert linear > 0.9 * parameters["alexnet_small"]


def test_the_small_vgg_has_the_analytic_cost() -> None:
    convolutions = [(3, 40, 32), (40, 40, 32), (40, 80, 16), (80, 80, 16), (80, 160, 8), (160, 160, 8)]
    linears = [(16 * 160, 512), (512, 512), (512, 10)]
    analytic_gradients = sum(9 * a * b * side**2 for a, b, side in convolutions) + sum(a * b for a, b in linears)
    weights = sum(9 * a * b + 3 * b for a, b, _ in convolutions) + sum(a * b + b for a, b in linears)
    normalisations = 2 * (512 + 512)
    assert cost(build("vgg_small")) == (weights + normalisations, analytic_gradients)


def test_the_units_of_googlenet_have_the_papers_channels() -> None:
    sums = [one + two[1] + three[1] + four for stage in UNITS for one, two, three, four in stage]
    assert sums == [256, 480, 512, 512, 512, 528, 832, 832, 1024]  # Szegedy 2014, Table 1, output sizes


def test_untrained_networks_are_at_chance() -> None:
    torch.manual_seed(0)
    for name in COUNTERPARTS:
        scores = build(name).train()(torch.randn(8, 3, 32, 32))  # by the statistics of the batch
        loss = nn.functional.cross_entropy(scores, torch.arange(8))
        assert loss.item() == pytest.approx(2.303, abs=0.4), name


def test_times_are_multiples_of_the_reference_in_the_same_round() -> None:
    rounds = [{REFERENCE: 2.0, "vgg_small": 3.0}, {REFERENCE: 4.0, "vgg_small": 8.0}]
    assert ratios(rounds, REFERENCE) == {REFERENCE: [1.0, 1.0], "vgg_small": [1.5, 2.0]}


NAMES = ("alexnet_small", "vgg_small", "googlenet_small", "resnet20", "resnext_small", "densenet_small")


def findings(*means: float, spread: float = 0.1, slow: float = 2.0, seeds: int = 3) -> dict[str, Any]:
    """Test errors around `means` by seed, in the order of NAMES, and three rounds of densenet's time around `slow`."""
    nets = {
        name: {
            "test": [mean - spread, mean, mean + spread][:seeds],
            "parameters": 1_000_000,
            "multiply_adds": 40_000_000,
            "times": [1.0] * 3,
        }
        for name, mean in zip(NAMES, means, strict=True)
    }
    nets["densenet_small"]["times"] = [slow - 0.05, slow, slow + 0.05]
    return {"machine": "a machine", "nets": nets}


def states(found: dict[str, Any], steps: int = 4_000) -> list[str]:
    return [verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), steps, found)]


PAPERS = (43, 28, 30, 24.5, 22, 24.4)
REVERSE = (20, 20, 30, 24.5, 26, 28)


def test_errors_in_the_papers_order_support_every_claim() -> None:
    assert states(findings(*PAPERS)) == ["supports"] * 5


def test_the_reverse_speaks_against_every_claim() -> None:
    assert states(findings(*REVERSE, slow=1.1)) == ["speaks against"] * 5


def test_overlap_shows_no_difference() -> None:
    assert states(findings(25, 25, 25, 25, 25, 25.6, spread=1, slow=1.51)) == ["no difference seen"] * 5


def test_few_steps_or_seeds_leave_only_time_decided() -> None:
    untrained = ["not trained enough to tell"] * 4
    for errors, slow, time in ((PAPERS, 2.0, "supports"), (REVERSE, 1.1, "speaks against")):
        assert states(findings(*errors, slow=slow), 999) == [*untrained, time]
        assert states(findings(*errors, slow=slow, seeds=2)) == [*untrained, time]


def test_an_error_that_is_lower_than_allowed_supports_densenet_and_one_above_it_does_not() -> None:
    for error, state in ((20.0, "supports"), (24.6, "supports"), (25.5, "speaks against")):
        assert states(findings(43, 28, 30, 24.5, 22, error))[3] == state


def test_every_family_has_its_own_plot_style_and_equal_training() -> None:
    assert list(STYLES) == list(COUNTERPARTS)
    assert len(set(STYLES.values())) == len(STYLES)
    for scale in SCALES.values():
        plan = STUDY.plan(scale)
        assert {recipe.model for recipe in plan} == set(COUNTERPARTS)
        assert len({tuple({**vars(recipe), "model": ""}.items()) for recipe in plan}) == 1


def test_the_study_runs_and_decides_nothing_from_seconds(tiny: Tiny) -> None:
    result = tiny("family")
    assert {verdict.state for verdict in result.verdicts} == {"not trained enough to tell"}
    assert png(result).startswith(b"\x89PNG")
    assert result.findings["nets"][REFERENCE]["times"] == [1.0]
    for model, net in result.findings["nets"].items():
        assert net["parameters"] == sum(p.numel() for p in build(model, 1).parameters())
        assert len(net["test"]) == 1
        assert net["diverged"] == []
        assert net["times"][0] > 0
