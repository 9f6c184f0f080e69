"""ResNeXt against the published counts and its paths one by one."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from twins import on_meta, parameters, shaken

from skipway.errors import SkipwayError
from skipway.models import build, resnext
from skipway.models.resnet import SHORTCUTS

# torchvision's published counts; for the CIFAR nets the formula below, and pytorchcv has the last one too.
COUNTS = {
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "resnext29_8x64d": 34_426_698,
    "resnext29_16x64d": 68_155_210,
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_parameter_count_is_the_published_one_to_the_unit(name: str) -> None:
    assert parameters(on_meta(name)) == COUNTS[name]


def test_no_network_goes_uncounted() -> None:
    assert set(COUNTS) == set(resnext.NETWORKS)


@pytest.mark.parametrize(("cardinality", "name"), [(8, "resnext29_8x64d"), (16, "resnext29_16x64d")])
def test_a_cifar_net_counts_what_section_5_3_says(cardinality: int, name: str) -> None:
    def unit(c_in: int, width: int) -> int:
        middle, c_out = cardinality * width, 4 * width
        weights = c_in * middle + cardinality * (width * width * 9) + middle * c_out
        return weights + 2 * (2 * middle + c_out)

    total = 3 * 64 * 9 + 2 * 64 + 1024 * 10 + 10
    for c_in, width in ((64, 64), (256, 128), (512, 256)):
        projection = c_in * 4 * width + 2 * 4 * width
        total += unit(c_in, width) + 2 * unit(4 * width, width) + projection
    assert parameters(on_meta(name)) == total
    assert total / 1e6 == pytest.approx({8: 34.4, 16: 68.1}[cardinality], abs=0.06), "Table 7"


def test_a_grouped_unit_is_the_sum_of_its_paths() -> None:
    # The first of the three equal forms (Fig. 3a): each path on its own, and their outputs added.
    cardinality, d = 4, 2
    unit = shaken(resnext.bottleneck(cardinality, d)(16, 64, 1, SHORTCUTS["B"])).eval()
    x = torch.randn(2, 16, 5, 5)

    def norm(y: Tensor, m: nn.BatchNorm2d, some: slice) -> Tensor:
        mean, var, weight, bias = (t[some].view(1, -1, 1, 1) for t in (m.running_mean, m.running_var, m.weight, m.bias))
        return (y - mean) / (var + 1e-5).sqrt() * weight + bias

    with torch.no_grad():
        total = torch.zeros(2, 256, 5, 5)
        for path in range(cardinality):
            own = slice(path * d, (path + 1) * d)
            y = norm(F.conv2d(x, unit.conv1.weight[own]), unit.bn1, own).clamp(min=0)
            y = norm(F.conv2d(y, unit.conv2.weight[own], padding=1), unit.bn2, own).clamp(min=0)
            total += F.conv2d(y, unit.conv3.weight[:, own])
        torch.testing.assert_close(unit.branch(x), norm(total, unit.bn3, slice(None)), rtol=1e-4, atol=1e-5)


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


@pytest.mark.parametrize(("name", "size"), [("resnext50_32x4d", 64)])
def test_the_first_loss_is_that_of_a_guess(name: str, size: int) -> None:
    net = build(name, classes=10).train()
    with torch.no_grad():
        outputs = net(torch.randn(8, 3, size, size))
    for scores in (outputs,):
        assert F.cross_entropy(scores, torch.arange(8)).item() == pytest.approx(math.log(10), rel=0.08)
