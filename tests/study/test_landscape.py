"""Study of the loss surface."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from studied import Tiny
from torch import nn

from skipway import hardware, models
from skipway.models.base import Network
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.landscape import NETS, STUDY
from skipway.study.probes.loss_surface import CEILING, Surface, direction, downhill_share, grid_points, width


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
    assert downhill_share((0.1 + x**2).tolist()) == 0
    # outwards: e^0, e^2, e^1 on both sides, which is 2 up and 1 down
    assert downhill_share(np.exp([1, 2, 0, 2, 1]).tolist()) == pytest.approx(1 / 3)
    assert downhill_share([1.0] * 5) == 0


def findings(**nets: tuple[tuple[float, float], ...]) -> dict[str, Any]:
    """Widths and downhill shares of the seeds of each network."""
    found = {
        name: [{"seed": seed, "width": w, "descent": d} for seed, (w, d) in enumerate(seeds)]
        for name, seeds in nets.items()
    }
    return {"nets": {**{name: [] for name in NETS}, **found}}


def states(found: dict[str, Any], scale: str) -> list[str]:
    return [verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), SCALES[scale], found)]


SHALLOW = {"resnet20": ((0.5, 0.0), (0.52, 0.0)), "plain20": ((0.45, 0.0), (0.48, 0.0))}
WIDE, NARROW = ((0.5, 0.0), (0.6, 0.01)), ((0.1, 0.3), (0.2, 0.2))


def test_a_narrow_rough_valley_without_shortcuts_confirms_every_claim() -> None:
    assert states(findings(resnet56=WIDE, plain56=NARROW, **SHALLOW), "small") == ["holds"] * 3


def test_the_reverse_refutes_only_at_scale_paper() -> None:
    turned = findings(resnet56=NARROW, plain56=WIDE, **SHALLOW)
    assert states(turned, "paper") == ["does not hold"] * 3
    assert states(turned, "small") == ["not decided"] * 3


def test_shortcuts_that_narrow_every_valley_leave_the_claim_about_depth_undecided() -> None:
    narrowed = {"resnet20": ((0.1, 0.0), (0.12, 0.0)), "plain20": ((0.5, 0.0), (0.5, 0.0))}
    found = findings(resnet56=((0.4, 0.0), (0.42, 0.0)), plain56=((0.5, 0.0), (0.5, 0.0)), **narrowed)
    assert states(found, "paper")[2] == "not decided"


def test_overlap_a_single_seed_and_divergence_decide_nothing() -> None:
    overlapping = findings(resnet56=((0.1, 0.0), (0.5, 0.3)), plain56=((0.2, 0.1), (0.4, 0.2)), **SHALLOW)
    single = findings(resnet56=WIDE[:1], plain56=NARROW[:1])
    diverged = findings(resnet56=WIDE, plain56=(), **SHALLOW)
    for found in (overlapping, single, diverged):
        assert states(found, "paper") == ["not decided"] * 3


def test_the_study_runs_and_decides_nothing_from_seconds(tiny: Tiny) -> None:
    result = tiny("landscape")
    assert {verdict.state for verdict in result.verdicts} == {"not decided"}
    for model, nets in result.findings["nets"].items():
        assert [one["seed"] for one in nets] == [0], model
        assert len({round(line[2], 4) for line in nets[0]["lines"]}) == 1, "all lines go through the trained net"
    around = result.findings["nets"]["resnet56"][0]
    assert around["square"][1] == pytest.approx(around["lines"][0][::2], rel=1e-3)
