"""Highway networks against the published counts, hand formulas and NumPy."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from twins import on_meta, parameters

from skipway.errors import SkipwayError
from skipway.models import build
from skipway.models.highway import Highway, HighwayNet
from skipway.models.stochastic_depth import add_stochastic_depth


def highway(channels: int, side: int) -> int:
    return 2 * (channels * channels * side * side + channels)


def plain(c_in: int, c_out: int, side: int) -> int:
    return c_in * c_out * side * side + c_out


@pytest.mark.parametrize(
    ("name", "widths", "sides", "published"),
    [
        ("highway19", (32, 80, 128), ([3] * 4, [3] * 5, [3] * 5), 2.3e6),
        ("highway32", (32, 64, 96), ([1, 3, 1, 3, 1, 3, 1, 3, 1],) * 3, 1.25e6),
    ],
)
def test_the_parameters_are_those_of_the_layers_and_near_the_papers(
    name: str, widths: tuple[int, ...], sides: tuple[list[int], ...], published: float
) -> None:
    expected, c_in = 0, 3
    for width, stage in zip(widths, sides, strict=True):
        expected += plain(c_in, width, 3) + sum(highway(width, side) for side in stage)
        c_in = width
    expected += plain(c_in, 100, 1) + 100 * 10 + 10
    assert parameters(on_meta(name)) == expected
    assert expected == pytest.approx(published, rel=0.02)


@pytest.mark.parametrize(("name", "layers"), [("highway19", 19), ("highway32", 32)])
def test_the_name_counts_the_layers(name: str, layers: int) -> None:
    net = on_meta(name)
    gates = sum(1 for m in net.modules() if isinstance(m, Highway))  # beside each gate's convolution is its layer's
    assert sum(1 for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)) - gates == layers


def test_the_32_layers_alternate_3x3_and_1x1() -> None:
    net = on_meta("highway32")
    for i in (1, 2, 3):
        first = net.get_submodule(f"conv{i}").kernel_size[0]
        layers = list(net.get_submodule(f"layer{i}"))
        assert [first, *(u.transform.kernel_size[0] for u in layers)] == [3, 1] * 5
        assert [u.gate.kernel_size for u in layers] == [u.transform.kernel_size for u in layers]


@pytest.mark.parametrize("side", [1, 3])
def test_a_layer_is_equation_3_in_numpy(side: int) -> None:
    unit = Highway(3, side, bias=-0.5).eval()
    x = torch.randn(2, 3, 5, 5)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (side // 2,) * 2, (side // 2,) * 2))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(2, 3))

    def convolved(c: nn.Conv2d) -> np.ndarray:
        weight, bias = c.weight.detach().numpy(), c.bias.detach().numpy()
        return np.einsum("ocij,nchwij->nohw", weight, windows) + bias[:, None, None]

    h, t = np.maximum(convolved(unit.transform), 0), 1 / (1 + np.exp(-convolved(unit.gate)))
    with torch.no_grad():
        np.testing.assert_allclose(unit.branch(x).numpy(), h * t, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(unit.skip(x).numpy(), x.numpy() * (1 - t), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(unit(x).numpy(), h * t + x.numpy() * (1 - t), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("bias", "carried"), [(-40, True), (40, False)])
def test_a_closed_gate_carries_and_an_open_one_transforms(bias: float, carried: bool) -> None:
    # Equation 4, which the sigmoid only comes near to.
    unit = Highway(4, 3, bias).eval()
    x = torch.randn(2, 4, 5, 5)
    with torch.no_grad():
        expected = x if carried else F.relu(unit.transform(x))
        torch.testing.assert_close(unit(x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("name", "bias", "units"), [("highway19", -2, 14), ("highway32", -3, 27)])
def test_new_layers_mostly_carry(name: str, bias: float, units: int) -> None:
    layers = [m for m in build(name).modules() if isinstance(m, Highway)]
    assert len(layers) == units
    for unit in layers:
        assert (unit.gate.bias == bias).all()
        assert not unit.transform.bias.any()
        silence = torch.zeros(1, unit.gate.in_channels, 1, 1)
        openness = unit.gate(silence).sigmoid().mean().item()
        assert openness == pytest.approx(1 / (1 + math.exp(-bias)), rel=1e-5)


def test_convolutions_start_uniform_with_variance_one_over_fan_in() -> None:
    for module in build("highway19").modules():
        if isinstance(module, nn.Conv2d):
            weight = module.weight.detach()
            fan_in = weight[0].numel()
            assert weight.abs().max().item() <= math.sqrt(3 / fan_in)
            # a uniform sample's variance deviates by sqrt(0.8 / count) of itself: five of those
            assert weight.var().item() * fan_in == pytest.approx(1, abs=5 * math.sqrt(0.8 / weight.numel()))


@pytest.mark.parametrize("name", ["highway19", "highway32"])
def test_channels_and_strides_describe_the_maps(name: str) -> None:
    net = on_meta(name, classes=7, channels=1).eval()
    maps = net.features(torch.empty(2, 1, 16, 16, device="meta"))
    assert [tuple(m.shape) for m in maps] == [
        (2, c, 16 // s, 16 // s) for c, s in zip(net.channels, (1, 2, 4), strict=True)
    ]
    assert net.strides == [1, 2, 4]
    assert net.get_submodule(net.first).in_channels == 1
    assert all(isinstance(u, Highway) for stage in net.stages for u in net.get_submodule(stage))
    assert [n for n, child in net.named_children() if any(True for _ in child.parameters())][-1] == "fc"
    assert net(torch.empty(2, 1, 4, 4, device="meta")).shape == (2, 7)
    with pytest.raises(SkipwayError, match="smallest is 4"):
        net(torch.empty(2, 1, 3, 3, device="meta"))


def test_there_is_no_stem_to_choose() -> None:
    with pytest.raises(SkipwayError, match="highway19 has no option stem"):
        build("highway19", stem="small")


def test_the_net_is_its_layers_in_turn() -> None:
    net = build("highway19").eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        y = x
        for i in (1, 2, 3):
            y = F.relu(net.get_submodule(f"conv{i}")(y if i == 1 else F.max_pool2d(y, 2)))
            for unit in net.get_submodule(f"layer{i}"):
                y = unit.skip(y) + unit.branch(y)
        scores = net.fc(F.relu(net.mix(y)).mean((2, 3)))
        torch.testing.assert_close(net(x), scores, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(net.train()(x), scores), "dropout must be at work in training"


def test_a_dropped_branch_leaves_what_is_carried() -> None:
    net = on_meta("highway32")
    add_stochastic_depth(net, 0.5)
    assert sum(1 for m in net.modules() if type(m).__name__ == "StochasticDepth") == 27
    unit = Highway(4, 3, -1).eval()
    unit.drop = nn.Threshold(float("inf"), 0.0)  # nothing comes through
    x = torch.randn(2, 4, 5, 5)
    with torch.no_grad():
        torch.testing.assert_close(unit(x), unit.skip(x))


def test_the_first_loss_is_that_of_a_guess() -> None:
    for name in ("highway19", "highway32"):
        net = build(name).train()
        with torch.no_grad():
            loss = F.cross_entropy(net(torch.randn(8, 3, 16, 16)), torch.arange(8))
        assert loss.item() == pytest.approx(math.log(10), rel=0.08)


def test_a_small_one_learns_one_small_batch_by_heart() -> None:
    net = HighwayNet((8, 16), ((3, 1), (3,)), -1, 4, 3).eval()  # without dropout, which is there to prevent just this
    x, y = torch.randn(8, 3, 8, 8), torch.arange(8) % 4
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert all(p.grad is not None and p.grad.any() for p in net.parameters())


def test_a_new_classifier_prefers_no_class() -> None:
    torch.manual_seed(0)
    net = build("highway19", classes=400)
    assert isinstance(net, HighwayNet)
    assert net.fc.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert abs(net.fc.weight.mean().item()) < 2e-4
    assert not net.fc.bias.any()
