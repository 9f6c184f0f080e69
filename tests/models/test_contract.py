"""What contract.py promises, held for every network by name."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn
from twins import shaken

from skipway.errors import SkipwayError
from skipway.hardware import ShapesOnly
from skipway.models import NETWORKS, build
from skipway.models.base import ModelOutput, Network, classes_of, replace_heads

DEEP = ("resnet1202", "preresnet1001", "resnet1001", "preresnet2000")  # seconds each, and of the same parts as others
NAMES = [name for name in NETWORKS if name not in DEEP]


def on_meta(name: str, **options: int) -> Network:
    with ShapesOnly():
        return build(name, **options)  # type: ignore[arg-type]


@cache
def known(name: str) -> Network:
    """The network for 7 classes and images of 4 channels, built once for all tests that only look."""
    return on_meta(name, classes=7, channels=4).eval()


@cache
def maps_of(name: str, side: int) -> list[torch.Tensor]:
    with torch.inference_mode():
        return known(name).features(images(known(name), side))


def images(net: Network, side: int, channels: int = 4) -> torch.Tensor:
    return torch.empty(2, channels, side, side, device="meta")


@pytest.mark.parametrize("name", NAMES)
def test_maps_are_as_described_at_the_smallest_input_and_above(name: str) -> None:
    net = known(name)
    for side in (net.smallest, 2 * net.smallest + 1):
        maps = maps_of(name, side)
        assert [m.shape[1] for m in maps] == net.channels
        assert all(m.shape[2] >= 1 and m.shape[3] >= 1 for m in maps)
        for wide, stride in zip(maps, net.strides, strict=True):
            assert abs(wide.shape[2] - side / stride) <= 1, "strides count input pixels a map pixel"
        with torch.inference_mode():
            assert net.classify(maps[-1]).shape == (2, 7)
    assert net.strides == sorted(net.strides)


@pytest.mark.parametrize(
    "name", ["resnet20", "preresnet20", "wrn40_4", "highway19", "densenet40_12", "googlenet", "alexnet"]
)
def test_classifying_the_last_map_gives_the_scores_digit_for_digit(name: str) -> None:
    net = shaken(build(name, classes=3)).eval()
    x = torch.randn(2, 3, max(net.smallest, 16), max(net.smallest, 16))
    with torch.no_grad():
        assert torch.equal(net.classify(net.features(x)[-1]), net(x))


@pytest.mark.parametrize("name", NAMES)
def test_torch_fx_records_every_layer_once(name: str) -> None:
    net = known(name)
    called = [node.target for node in fx.symbolic_trace(net).graph.nodes if node.op == "call_module"]
    idle = tuple(head.split(".")[0] for head in net.heads[1:])  # auxiliary classifiers
    layers = [key for key, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.BatchNorm2d)]
    wanted = [key for key in layers if key.split(".")[0] not in idle]
    assert sorted(key for key in called if key in set(layers)) == sorted(wanted)


@pytest.mark.parametrize("name", NAMES)
def test_a_smaller_input_is_refused_with_the_smallest(name: str) -> None:
    net = known(name)
    if net.smallest > 1:
        with pytest.raises(SkipwayError, match=rf"the smallest is {net.smallest}$"):
            net.features(images(net, net.smallest - 1))


@pytest.mark.parametrize(
    "name", ["resnet18", "preresnet20", "vgg11", "densenet40_12", "googlenet", "highway19", "wrn40_4"]
)
def test_images_of_other_channels_or_without_a_batch_are_refused_with_what_is_taken(name: str) -> None:
    net = on_meta(name)
    for shape in ((2, 1, 64, 64), (3, 64, 64), (2, 64, 64, 3)):
        with pytest.raises(SkipwayError, match=r"it expects \(N, 3, H, W\)$"):
            net.features(torch.empty(shape, device="meta"))


@pytest.mark.parametrize("name", NAMES)
def test_the_first_convolution_takes_any_number_of_channels(name: str) -> None:
    """The maps of images of four channels are computed in the test of the maps."""
    grey = on_meta(name, classes=3, channels=1).eval()
    for channels, net in ((4, known(name)), (1, grey)):
        first = net.get_submodule(net.first)
        assert isinstance(first, nn.Conv2d)
        assert first.in_channels == channels
    with torch.inference_mode():
        assert grey(images(grey, grey.smallest, channels=1)).shape == (2, 3)


@pytest.mark.parametrize("name", NAMES)
def test_every_head_is_replaced_and_the_main_one_comes_last(name: str) -> None:
    net = on_meta(name, classes=9, channels=1).train()
    assert classes_of(net) == 9
    replace_heads(net, 4)
    with torch.inference_mode():
        if len(net.heads) > 1:  # some of them in training alone
            out = net(images(net, max(net.smallest, 32), channels=1))
        else:
            out = net.classify(maps_of(name, net.smallest)[-1])
    for scores in (out.scores, *out.auxiliary) if isinstance(out, ModelOutput) else (out,):
        assert scores.shape == (2, 4)
    last = [n for n, child in net.named_children() if any(True for _ in child.parameters())][-1]
    assert net.heads[0].split(".")[0] == last


@pytest.mark.parametrize("name", NAMES)
def test_stages_are_sequences_that_feed_each_other(name: str) -> None:
    net = known(name)
    for stage in net.stages:
        assert type(net.get_submodule(stage)) is nn.Sequential


@pytest.mark.parametrize(
    "name",
    [
        *("resnet20", "plain20", "preresnet20", "highway19", "densenet40_12", "wrn40_4", "resnet18d", "seresnet18"),
        *("resnet18_blur", "resnet110_exclusive_gate", "resnet110_relu_only"),
    ],
)
def test_four_images_are_learned_by_heart(name: str) -> None:
    torch.manual_seed(0)
    net = build(name, classes=2, **({"stem": "small"} if "18" in name else {})).train()  # type: ignore[arg-type]
    for module in net.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    x, y = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 1, 0])
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(60):
        loss = F.cross_entropy(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loss < 0.05:
            break
    assert loss < 0.05
