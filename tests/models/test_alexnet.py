"""AlexNet against the published count and torchvision's layers."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from twins import on_meta, parameters

from skipway.errors import SkipwayError
from skipway.models import alexnet, build

COUNTS = {"alexnet": 61_100_840}


@pytest.mark.parametrize("name", COUNTS)
def test_the_parameter_count_is_the_published_one_to_the_unit(name: str) -> None:
    assert parameters(on_meta(name)) == COUNTS[name]


def test_no_network_goes_uncounted() -> None:
    assert set(COUNTS) == set(alexnet.NETWORKS)


def test_dropout_falls_on_the_hidden_layers_with_the_papers_chance() -> None:
    net = on_meta("alexnet")
    reference = torchvision.models.alexnet
    with torch.device("meta"):
        expected = [(n, m.p) for n, m in reference().named_modules() if isinstance(m, nn.Dropout)]
    assert [(n, m.p) for n, m in net.named_modules() if isinstance(m, nn.Dropout)] == expected
    assert {p for _, p in expected} == {0.5}


def test_the_trunk_is_both_the_contracts_method_and_a_child() -> None:
    net = on_meta("alexnet").eval()
    x = torch.empty(2, 3, 64, 64, device="meta")
    assert net.features is net.get_submodule("features")
    assert isinstance(net.features(x), list)
    assert net.get_submodule(net.first) is net.features[0]
    copied = copy.deepcopy(net)
    assert copied.features is not net.features
    assert [m.shape for m in copied.features(x)] == [m.shape for m in net.features(x)]


def test_the_maps_have_torchvisions_sides() -> None:
    net = on_meta("alexnet").eval()
    maps = net.features(torch.empty(2, 3, 224, 224, device="meta"))
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 27, 27), (192, 13, 13), (256, 6, 6)]
    assert net.channels == [64, 192, 256]
    for a, b, stride in zip(maps[:-1], maps[1:], net.strides[1:], strict=True):
        assert (a.shape[2] - 3) // 2 + 1 == b.shape[2], "nothing is padded, so that the sides are not 224 / stride"
        assert abs(b.shape[2] - 224 / stride) <= 1


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


@pytest.mark.parametrize(("name", "size"), [("alexnet", 64)])
def test_the_first_loss_is_that_of_a_guess(name: str, size: int) -> None:
    net = build(name, classes=10).train()
    with torch.no_grad():
        outputs = net(torch.randn(8, 3, size, size))
    for scores in (outputs,):
        assert F.cross_entropy(scores, torch.arange(8)).item() == pytest.approx(math.log(10), rel=0.08)
