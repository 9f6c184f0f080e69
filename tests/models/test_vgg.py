"""VGG against the published counts and torchvision's layers."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from twins import on_meta, parameters

from skipway.errors import SkipwayError
from skipway.models import build, vgg

COUNTS = {
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "vgg11_bn": 132_868_840,
    "vgg13_bn": 133_053_736,
    "vgg16_bn": 138_365_992,
    "vgg19_bn": 143_678_248,
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_parameter_count_is_the_published_one_to_the_unit(name: str) -> None:
    assert parameters(on_meta(name)) == COUNTS[name]


def test_no_network_goes_uncounted() -> None:
    assert set(COUNTS) == set(vgg.NETWORKS)


@pytest.mark.parametrize("name", COUNTS)
def test_the_depth_in_the_name_counts_the_layers_that_learn(name: str) -> None:
    learning = [m for m in on_meta(name).modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(learning) == int(name.removesuffix("_bn").removeprefix("vgg"))


@pytest.mark.parametrize("name", COUNTS)
def test_the_names_and_shapes_of_the_weights_are_torchvisions(name: str) -> None:
    with torch.device("meta"):
        expected = torchvision.models.get_model(name).state_dict()
    assert [(k, v.shape) for k, v in on_meta(name).state_dict().items()] == [(k, v.shape) for k, v in expected.items()]


def test_dropout_falls_on_the_hidden_layers_with_the_papers_chance() -> None:
    net = on_meta("vgg16")
    reference = torchvision.models.vgg16
    with torch.device("meta"):
        expected = [(n, m.p) for n, m in reference().named_modules() if isinstance(m, nn.Dropout)]
    assert [(n, m.p) for n, m in net.named_modules() if isinstance(m, nn.Dropout)] == expected
    assert {p for _, p in expected} == {0.5}


def test_the_trunk_is_both_the_contracts_method_and_a_child() -> None:
    net = on_meta("vgg11").eval()
    x = torch.empty(2, 3, 64, 64, device="meta")
    assert net.features is net.get_submodule("features")
    assert isinstance(net.features(x), list)
    assert net.get_submodule(net.first) is net.features[0]
    copied = copy.deepcopy(net)
    assert copied.features is not net.features
    assert [m.shape for m in copied.features(x)] == [m.shape for m in net.features(x)]


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


def test_weights_start_where_they_should() -> None:
    net = build("vgg11_bn", classes=10)
    for key, value in net.named_parameters():
        if key.endswith("bias"):
            assert not value.any(), key
        elif value.dim() == 4:
            assert value.std().item() == pytest.approx(math.sqrt(2 / (9 * value.shape[0])), rel=0.1), key
        elif value.dim() == 2:
            assert value.std().item() == pytest.approx(0.01, rel=0.05), key
    with torch.no_grad():
        loss = F.cross_entropy(net.train()(torch.randn(8, 3, 32, 32)), torch.arange(8))
    assert loss.item() == pytest.approx(math.log(10), rel=0.08)
