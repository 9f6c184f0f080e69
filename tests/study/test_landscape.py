"""Study of the loss surface."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from studied import Tiny
from torch import nn

from skipway import hardware, models
from skipway.models.base import Network
from skipway.study import STUDIES
from skipway.study.engine.report import png
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.landscape import NETS, STUDY
from skipway.study.probes.loss_surface import CEILING, Surface, direction, downhill_share, grid_points, width

CHANCE = math.log(10)


@pytest.fixture(scope="module")
def net() -> Network:
    """A network whose batch-norm statistics differ from the initial ones."""
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        made = models.build("resnet20", 3, 1)
        made.train()(torch.randn(16, 1, 8, 8))
    return made.eval()


@pytest.fixture(scope="module")
def surface(net: Network) -> Surface:
    generator = torch.Generator().manual_seed(2)
    images, labels = torch.randn(10, 1, 8, 8, generator=generator), torch.arange(10) % 3
    return Surface.of(net, images, labels, hardware.decide("cpu"))


def loss_by_hand(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Cross-entropy in NumPy from the scores."""
    with torch.no_grad():
        scores = net(images).double().numpy()
    likelihoods = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    return float(-np.log(likelihoods[np.arange(len(labels)), labels.numpy()]).mean())


def test_every_filter_of_a_direction_has_the_networks_norm(net: Network) -> None:
    along = direction(net, 5)
    weights = {name: p.detach().numpy() for name, p in net.named_parameters()}
    assert set(along) == {name for name, w in weights.items() if name.endswith("weight") and w.ndim in (2, 4)}
    for name, towards in along.items():
        own = np.sqrt((weights[name].reshape(len(weights[name]), -1) ** 2).sum(1))
        drawn = towards.numpy().reshape(len(own), -1)
        np.testing.assert_allclose(np.sqrt((drawn**2).sum(1)), own, rtol=1e-5)
        if drawn.shape[1] > 500:  # and it is Gaussian in direction: many numbers, none of them large
            assert abs(drawn.mean()) < 0.05 * drawn.std()


def test_a_direction_depends_only_on_its_seed(net: Network) -> None:
    first, again, other = direction(net, 5), direction(net, 5), direction(net, 6)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)


def test_the_loss_at_the_origin_is_that_of_the_network(net: Network, surface: Surface) -> None:
    expected = loss_by_hand(net, surface.images, surface.labels)
    assert surface.at() == pytest.approx(expected, rel=1e-5)
    assert surface.at((0.0, direction(net, 0))) == surface.at()


def test_the_loss_elsewhere_is_that_of_moved_weights_and_the_network_is_unchanged(
    net: Network, surface: Surface
) -> None:
    across, up = direction(net, 0), direction(net, 1)
    before = copy.deepcopy(net.state_dict())
    found = surface.at((0.3, across), (-0.2, up))
    moved = copy.deepcopy(net)
    with torch.no_grad():
        for name, weight in moved.named_parameters():
            if name in across:
                weight += 0.3 * across[name] - 0.2 * up[name]
    assert found == pytest.approx(loss_by_hand(moved, surface.images, surface.labels), rel=1e-4)
    assert found != pytest.approx(surface.at(), rel=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_non_finite_loss_counts_as_the_ceiling(net: Network, surface: Surface) -> None:
    nowhere = {name: towards * float("nan") for name, towards in direction(net, 0).items()}
    assert surface.at((1.0, nowhere)) == CEILING


def test_width_is_the_distance_at_which_the_loss_has_risen_by_a_nat() -> None:
    x = np.array(grid_points(401))
    assert 0.0 in grid_points(401)
    assert width((0.3 + 4 * np.abs(x)).tolist()) == pytest.approx(0.25)
    assert width((9 * x**2).tolist()) == pytest.approx(1 / 3, abs=1e-3)
    assert width(np.where(x < 0, -2 * x, 10 * x).tolist()) == pytest.approx((0.5 + 0.1) / 2)
    assert width([0.5] * 9) == 1


def test_downhill_share_of_the_variation() -> None:
    x = np.array(grid_points(101))
    assert downhill_share((0.1 + x**2).tolist(), CHANCE) == 0
    # outwards: 0, 2, 1 on both sides, which is 2 up and 1 down
    assert downhill_share([1, 2, 0, 2, 1], CHANCE) == pytest.approx(1 / 3)
    assert downhill_share([1.0] * 5, CHANCE) == 0


def test_downhill_share_ends_where_the_loss_is_that_of_chance() -> None:
    valley = [2.5, 2, 1, 2, 2.5]
    assert downhill_share(valley, 2.2) == 0
    assert downhill_share([2.3, 3, *valley, 3, 2.3], 2.2) == 0, "what goes down beyond chance is not in the valley"
    assert downhill_share([2.1, 3, *valley, 3, 2.1], 4.0) > 0
    steep = downhill_share([9, 1, 2, 0, 2, 1, 9], 2.2)
    assert steep == pytest.approx(1 / (2 + 1 + 1.2)), "how far it rises beyond chance does not matter"


def line(width: float, rough: float, loss: float) -> list[float]:
    """A valley with this width, and steps of `rough` nats up and down on its way up, below a rise of 1 nat."""
    x = np.abs(np.array(grid_points(401)))
    rise = x / width
    waves = rough * (np.arange(len(x)) % 2) * (rise < 0.5)
    return list(np.where(x == 0, loss, loss + rise + waves))


def findings(**nets: tuple[float, float]) -> dict[str, Any]:
    """Three seeds of each network, with this width and roughness of their valleys, narrower and wider by a tenth."""
    return {
        "chance": CHANCE,
        "line": grid_points(401),
        "nets": {
            name: [
                {"seed": seed, "lines": [line(factor * width, rough, 0.3)], "loss": 0.3, "test": 9.0}
                for seed, factor in enumerate((0.95, 1.0, 1.05))
            ]
            for name, (width, rough) in nets.items()
        },
    }


def verdicts(found: dict[str, Any], steps: int = 16_000) -> dict[str, Any]:
    return {v.claim: v for v in STUDY.decide_claims(STUDY.claims_by_name(), steps, found)}


def states(found: dict[str, Any], steps: int = 16_000) -> list[str]:
    return [verdict.state for verdict in verdicts(found, steps).values()]


CONFIRMING = {"resnet56": (0.5, 0.0), "plain56": (0.15, 0.1), "resnet20": (0.5, 0.0), "plain20": (0.45, 0.0)}
CONTRARY = {"resnet56": (0.15, 0.1), "plain56": (0.5, 0.0), "resnet20": (0.5, 0.0), "plain20": (0.45, 0.0)}


def test_a_narrow_rough_valley_without_shortcuts_supports_every_claim() -> None:
    assert states(findings(**CONFIRMING)) == ["supports"] * 3


def test_a_narrow_rough_valley_with_shortcuts_speaks_against_every_claim() -> None:
    assert states(findings(**CONTRARY)) == ["speaks against"] * 3


def test_equal_valleys_show_no_difference() -> None:
    assert states(findings(**dict.fromkeys(NETS, (0.4, 0.0)))) == ["no difference seen"] * 3


def test_shortcuts_that_narrow_the_deep_valley_less_than_the_shallow_one_speak_against_depth() -> None:
    narrowed = {"resnet20": (0.1, 0.0), "plain20": (0.5, 0.0), "resnet56": (0.4, 0.0), "plain56": (0.5, 0.0)}
    assert states(findings(**narrowed))[2] == "speaks against"


def test_two_seeds_few_steps_and_divergence_decide_nothing() -> None:
    for found in (findings(**CONFIRMING), findings(**CONTRARY)):
        assert states(found, 999) == ["not trained enough to tell"] * 3
        two = {model: nets[:2] for model, nets in found["nets"].items()}
        assert states(found | {"nets": two}) == ["not trained enough to tell"] * 3
        lost = verdicts(found | {"nets": found["nets"] | {"plain56": []}})
        assert {v.state for v in lost.values()} == {"not trained enough to tell"}
        assert lost["sharper"].reason == "Plain56 diverged in every seed."


def test_a_network_that_has_learnt_little_has_no_valley_to_measure() -> None:
    """The plain network of the first result: from its loss of 1.36 nats, 1 nat more leads above chance."""
    for nets in (CONFIRMING, CONTRARY):
        found = findings(**nets)
        for net in found["nets"]["plain56"]:
            net["loss"] = 1.36
        untrained = verdicts(found)
        assert {v.state for v in untrained.values()} == {"not trained enough to tell"}
        assert "1.36 nats" in untrained["rougher"].reason
        for net in found["nets"]["plain56"]:
            net["loss"] = 1.29
        assert "not trained enough to tell" not in states(found)


def test_the_networks_are_those_of_degradation() -> None:
    for scale in SCALES.values():
        assert set(STUDY.plan(scale)) <= set(STUDIES["degradation"].plan(scale))
        assert [recipe.model for recipe in STUDY.plan(scale)] == list(NETS)
        assert len({recipe.iterations for recipe in STUDY.plan(scale)}) == 1


def test_the_study_runs_and_decides_nothing_from_seconds(tiny: Tiny) -> None:
    result = tiny("landscape")
    assert {verdict.state for verdict in result.verdicts} == {"not trained enough to tell"}
    assert result.findings["chance"] == pytest.approx(2.302585)
    for model, nets in result.findings["nets"].items():
        assert [one["seed"] for one in nets] == [0], model
        assert len({round(line[2], 4) for line in nets[0]["lines"]}) == 1, "all lines go through the trained net"
    around = result.findings["nets"]["resnet56"][0]
    assert around["square"][1] == pytest.approx(around["lines"][0][::2], rel=1e-3)
    assert png(result).startswith(b"\x89PNG")
