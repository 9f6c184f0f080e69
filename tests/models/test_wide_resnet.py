"""Wide networks against the papers' counts and a unit written out."""

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from twins import on_meta, parameters, shaken

from skipway.errors import SkipwayError
from skipway.models import build, wide_resnet
from skipway.models.resnet import small_stem
from skipway.models.stochastic_depth import add_stochastic_depth
from skipway.models.wide_resnet import Wide, WideResNet

# torchvision's published counts; for the CIFAR nets the formula below.
COUNTS = {
    "wide_resnet50_2": 68_883_240,
    "wide_resnet101_2": 126_886_696,
    "wrn28_10": 36_479_194,
    "wrn40_4": 8_949_210,
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_parameter_count_is_the_published_one_to_the_unit(name: str) -> None:
    assert parameters(on_meta(name)) == COUNTS[name]


def test_no_network_goes_uncounted() -> None:
    assert set(COUNTS) == set(wide_resnet.NETWORKS)


@pytest.mark.parametrize(("depth", "k", "millions"), [(28, 10, 36.5), (40, 4, 8.9)])
def test_a_cifar_net_counts_what_table_1_says(depth: int, k: int, millions: float) -> None:
    n = (depth - 4) // 6
    total, c_in = 3 * 16 * 9, 16
    for width in (16 * k, 32 * k, 64 * k):
        first = 2 * c_in + c_in * width * 9 + 2 * width + width * width * 9 + c_in * width
        total += first + (n - 1) * 2 * (2 * width + width * width * 9)
        c_in = width
    total += 2 * c_in + 10 * c_in + 10
    net = on_meta(f"wrn{depth}_{k}")
    assert parameters(net) == total
    assert total / 1e6 == pytest.approx(millions, abs=0.05)
    # The paper's depth counts the projections at the stages' beginnings, and not the classifier.
    assert sum(isinstance(m, nn.Conv2d) for m in net.modules()) == depth


@pytest.mark.parametrize(("c_in", "width", "stride"), [(8, 8, 1), (6, 8, 1), (8, 8, 2), (4, 8, 2)])
def test_a_wide_unit_is_the_published_sequence(c_in: int, width: int, stride: int) -> None:
    unit = shaken(Wide(c_in, width, stride)).eval()
    x = torch.randn(2, c_in, 9, 9)
    before = x.clone()

    def activated(y: Tensor, m: nn.BatchNorm2d) -> Tensor:
        mean, var, weight, bias = (t.view(1, -1, 1, 1) for t in (m.running_mean, m.running_var, m.weight, m.bias))
        return ((y - mean) / (var + 1e-5).sqrt() * weight + bias).clamp(min=0)

    with torch.no_grad():
        first = activated(x, unit.bn1)
        y = activated(F.conv2d(first, unit.conv1.weight, stride=stride, padding=1), unit.bn2)
        branch = F.conv2d(y, unit.conv2.weight, padding=1)
        same = stride == 1 and c_in == width
        skip = x if same else F.conv2d(first, unit.downsample.weight, stride=stride)
        torch.testing.assert_close(unit(x), branch + skip, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(unit.branch(x), branch, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(unit.skip(x), skip, rtol=1e-4, atol=1e-5)
    assert torch.equal(x, before), "a unit must not write into its input"


def test_a_unit_counts_each_batch_once() -> None:
    unit = Wide(4, 8, 2).train()
    x = torch.randn(3, 4, 6, 6)
    unit(x)
    assert unit.bn1.num_batches_tracked == unit.bn2.num_batches_tracked == 1
    torch.testing.assert_close(unit.bn1.running_mean, 0.1 * x.mean((0, 2, 3)))


def test_dropout_is_handed_in_and_stands_between_the_convolutions() -> None:
    unit = Wide(4, 4, 1, between=lambda channels: nn.Dropout(1.0))
    x = torch.randn(2, 4, 5, 5)
    assert torch.equal(unit.train()(x), x), "with nothing left between the convolutions, the branch is dead"
    assert not torch.equal(unit.eval()(x), x)
    net = wide_resnet.wide(10, 1, partial(Wide, between=lambda channels: nn.Dropout(0.3)))(classes=3)
    assert sum(isinstance(m, nn.Dropout) for m in net.modules()) == 3
    assert not any(isinstance(m, nn.Dropout) for m in on_meta("wrn28_10").modules())


def test_stochastic_depth_finds_every_unit() -> None:
    net = on_meta("wrn40_4")
    add_stochastic_depth(net, 0.5)
    assert sum(type(m).__name__ == "StochasticDepth" for m in net.modules()) == 18


def test_the_last_map_is_the_one_that_the_scores_come_from() -> None:
    net = shaken(WideResNet(Wide, 1, 2, small_stem, 5, 3)).eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        maps = net.features(x)
        torch.testing.assert_close(net(x), F.linear(maps[-1].mean((2, 3)), net.fc.weight, net.fc.bias))
        y = net.layer3(maps[1])
        torch.testing.assert_close(maps[-1], F.relu(net.bn1(y)))


@pytest.mark.parametrize("name", COUNTS)
def test_channels_and_strides_describe_the_maps(name: str) -> None:
    net = on_meta(name).eval()
    size = 4 * net.strides[-1]
    maps = net.features(torch.empty(2, 3, size, size, device="meta"))
    expected = [(2, c, size // s, size // s) for c, s in zip(net.channels, net.strides, strict=True)]
    assert [tuple(m.shape) for m in maps] == expected


@pytest.mark.parametrize("name", COUNTS)
def test_the_smallest_image_works_and_a_smaller_one_is_refused_with_that_number(name: str) -> None:
    net = on_meta(name, classes=4)
    side = net.smallest
    x = torch.empty(2, 3, side, side, device="meta")
    assert net.eval()(x).shape == (2, 4)
    assert net.features(x)[-1].shape[2:] == (1, 1)
    assert net(torch.empty(2, 3, side + 5, side + 18, device="meta")).shape == (2, 4)
    for shape in ((side - 1, side), (side, side - 1)):
        with pytest.raises(SkipwayError, match=rf"{side - 1} pixels.*smallest is {side}") as caught:
            net.features(torch.empty(2, 3, *shape, device="meta"))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "size"), [("wrn40_4", 32)])
def test_the_first_loss_is_that_of_a_guess(name: str, size: int) -> None:
    net = build(name, classes=10).train()
    with torch.no_grad():
        outputs = net(torch.randn(8, 3, size, size))
    for scores in (outputs,):
        assert F.cross_entropy(scores, torch.arange(8)).item() == pytest.approx(math.log(10), rel=0.08)
