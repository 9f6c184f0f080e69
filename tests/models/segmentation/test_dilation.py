"""Dilation in the place of strides: the same values at the pixels that the strided network computes, and between."""

from copy import deepcopy

import pytest
import torch
import torchvision
from torch import nn
from twins import shaken

from skipway.errors import SkipwayError
from skipway.models import build
from skipway.models.dilation import DilatedAverage, dilate

# Basic units and bottlenecks with the stride in the 3x3 and in the 1x1, groups, and shortcuts that pad or average
NETS = {
    "resnet18": {},
    "resnet18-A": {"shortcut": "A"},
    "resnet18d_x0_5": {},
    "resnet50": {},
    "resnet50_v1": {},
    "resnext50_32x4d": {},
}
SIZES = [(64, 96), (65, 99), (33, 47)]


def network(key: str) -> nn.Module:
    torch.manual_seed(0)
    return shaken(build(key.removesuffix("-A"), 5, **NETS[key])).eval()


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("key", NETS)
def test_the_strided_maps_are_every_second_or_fourth_pixel_of_the_dilated(key: str, size: tuple[int, int]) -> None:
    strided = network(key)
    x = torch.randn(1, 3, *size)
    with torch.no_grad():
        wanted = strided.features(x)
        for output_stride in (16, 8):
            dilated = dilate(deepcopy(strided), output_stride)
            assert dilated.strides == [4, 8, *([16, 16] if output_stride == 16 else [8, 8])]
            for theirs, ours, before, now in zip(
                wanted, dilated.features(x), strided.strides, dilated.strides, strict=True
            ):
                assert ours.shape[2:] == (-(-size[0] // now), -(-size[1] // now))
                step = before // now
                torch.testing.assert_close(
                    ours[..., ::step, ::step], theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max())
                )


@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d"])
def test_all_pixels_are_those_of_torchvision(name: str) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name, weights=None, replace_stride_with_dilation=[False, True, True]).eval()
    theirs.load_state_dict(shaken(build(name)).state_dict())
    ours = dilate(build(name), 8).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 3, 49, 65)
    with torch.no_grad():
        wanted = theirs.layer3(theirs.layer2(theirs.layer1(theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(x)))))))
        *_, before, last = ours.features(x)
        torch.testing.assert_close(before, wanted, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(last, theirs.layer4(wanted), rtol=1e-4, atol=1e-5)


def test_an_output_stride_of_32_changes_nothing() -> None:
    net = network("resnet18")
    assert str(dilate(deepcopy(net), 32)) == str(net)
    assert dilate(deepcopy(net), 32).strides == net.strides


def test_the_average_of_neighbours_is_pytorchs_pooling() -> None:
    x = torch.randn(1, 2, 7, 9)
    pooled = nn.functional.avg_pool2d(x, 2, 2, ceil_mode=True, count_include_pad=False)
    torch.testing.assert_close(DilatedAverage(1)(x)[..., ::2, ::2], pooled)


@pytest.mark.parametrize(
    ("name", "output_stride", "message"),
    [
        ("resnet18", 4, "an output stride of 4: choose 8, 16 or 32"),
        ("densenet121", 8, "units of DenseNet cannot be dilated"),
        ("plain18", 8, "units of Plain cannot be dilated"),
        ("resnet18_blur", 8, "units with blur pooling cannot be dilated"),
    ],
)
def test_what_cannot_be_dilated_is_refused(name: str, output_stride: int, message: str) -> None:
    with torch.device("meta"), pytest.raises(SkipwayError, match=message):
        dilate(build(name), output_stride)
