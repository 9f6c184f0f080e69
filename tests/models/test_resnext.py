"""ResNeXt against the published counts, torchvision's outputs and its paths one by one."""

import math

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck as TheirBottleneck
from twins import on_meta, parameters, shaken, theirs

from skipway.errors import SkipwayError
from skipway.models import build, resnext
from skipway.models.analysis.trace import layer_table
from skipway.models.resnet import SHORTCUTS, imagenet

# torchvision's published counts; for the CIFAR nets the formula below, and pytorchcv has the last one too.
COUNTS = {
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272,
    "resnext29_8x64d": 34_426_698,
    "resnext29_16x64d": 68_155_210,
}
MULTIPLY_ADDS = {"resnext50_32x4d": 4.230, "resnext101_32x8d": 16.414, "resnext101_64x4d": 15.460}


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


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_the_multiply_adds_are_torchvisions(name: str) -> None:
    total = sum(layer.multiply_adds for layer in layer_table(on_meta(name), (3, 224, 224)))
    assert total / 1e9 == pytest.approx(MULTIPLY_ADDS[name], rel=0.005)


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_torchvisions_weights_load_and_give_torchvisions_scores(name: str) -> None:
    reference = shaken(theirs(name, classes=11).to_empty(device="cpu")).eval()
    ours = on_meta(name, classes=11)
    assert list(ours.state_dict()) == list(reference.state_dict())
    ours.load_state_dict(reference.state_dict(), strict=True, assign=True)
    x = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        expected = reference(x)
        tolerance = 1e-5 * expected.abs().max().item()
        torch.testing.assert_close(ours.eval()(x), expected, rtol=0, atol=tolerance)
    assert expected.std() > 1e-3, "scores that say nothing would agree whatever the network"


def test_one_training_step_has_torchvisions_loss_gradients_and_statistics() -> None:
    # In float64, where a different order of summation cannot pass for, or hide, a different computation.
    # One unit a stage: each has the full width, and its shortcut a projection.
    reference = torchvision.models.ResNet(TheirBottleneck, [1, 1, 1, 1], 7, groups=32, width_per_group=4)
    reference = shaken(reference).double()
    ours = imagenet(resnext.bottleneck(32, 4), 4, (1, 1, 1, 1))(classes=7).double()
    ours.load_state_dict(reference.state_dict())
    x, y = torch.randn(2, 3, 64, 64, dtype=torch.float64), torch.tensor([1, 5])
    losses = []
    for net in (ours.train(), reference.train()):
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-9, atol=1e-9)
    expected = dict(reference.named_parameters())
    for key, value in ours.named_parameters():
        torch.testing.assert_close(
            value.grad, expected[key].grad, rtol=1e-6, atol=1e-9, msg=lambda m, k=key: f"{k}: {m}"
        )
    buffers = dict(reference.named_buffers())
    for key, value in ours.named_buffers():
        torch.testing.assert_close(value, buffers[key], rtol=1e-9, atol=1e-9)


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
