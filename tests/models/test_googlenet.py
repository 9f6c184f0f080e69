"""GoogLeNet against the published count and torchvision's dropout."""

import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from twins import on_meta, parameters

from skipway.errors import SkipwayError
from skipway.models import build, googlenet
from skipway.models.base import ModelOutput

# torchvision publishes the count without the auxiliary classifiers, which the formula below adds.
COUNTS = {"googlenet": 6_624_904 + 6_379_984}


@pytest.mark.parametrize("name", COUNTS)
def test_the_parameter_count_is_the_published_one_to_the_unit(name: str) -> None:
    assert parameters(on_meta(name)) == COUNTS[name]


def test_no_network_goes_uncounted() -> None:
    assert set(COUNTS) == set(googlenet.NETWORKS)


def test_the_auxiliary_classifiers_count_what_their_layers_do() -> None:
    net, expected = on_meta("googlenet"), 0
    for c_in in (512, 528):
        expected += c_in * 128 + 2 * 128 + (128 * 16 * 1024 + 1024) + (1024 * 1000 + 1000)
    assert parameters(net.aux1) + parameters(net.aux2) == expected
    assert parameters(net) - expected == 6_624_904


def test_the_auxiliary_scores_come_with_the_main_ones_in_training_only() -> None:
    net = on_meta("googlenet", classes=7)
    x = torch.empty(2, 3, 64, 64, device="meta")
    judged = net.train()(x)
    assert isinstance(judged, ModelOutput)
    assert [scores.shape for scores in (judged.scores, *judged.auxiliary)] == [(2, 7)] * 3
    assert isinstance(net.eval()(x), Tensor)


def test_only_the_second_auxiliary_score_has_seen_the_units_between_the_two() -> None:
    net = build("googlenet", classes=7).train()
    x = torch.randn(2, 3, 64, 64)
    first, second = (
        torch.autograd.grad(s.sum(), net.inception4c.branch1.conv.weight, allow_unused=True)[0]
        for s in net(x).auxiliary
    )
    assert first is None
    assert second is not None


def test_dropout_falls_where_torchvisions_does() -> None:
    with torch.device("meta"):
        reference = torchvision.models.googlenet(init_weights=False)
    chances = [
        {name: m.p for name, m in net.named_modules() if isinstance(m, nn.Dropout)}
        for net in (reference, on_meta("googlenet"))
    ]
    assert chances[0] == chances[1] == {"aux1.dropout": 0.7, "aux2.dropout": 0.7, "dropout": 0.2}


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


@pytest.mark.parametrize(("name", "size"), [("googlenet", 64)])
def test_the_first_loss_is_that_of_a_guess(name: str, size: int) -> None:
    net = build(name, classes=10).train()
    with torch.no_grad():
        outputs = net(torch.randn(8, 3, size, size))
    for scores in (outputs.scores, *outputs.auxiliary):
        assert F.cross_entropy(scores, torch.arange(8)).item() == pytest.approx(math.log(10), rel=0.08)
