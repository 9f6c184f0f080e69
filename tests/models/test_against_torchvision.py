"""The networks that torchvision has too: multiply-adds, scores and one step of training are torchvision's."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck as TheirBottleneck
from twins import on_meta, shaken, theirs

from skipway.models import resnext, wide_resnet
from skipway.models.analysis.trace import layer_table
from skipway.models.base import ModelOutput
from skipway.models.resnet import imagenet

# The side of the images, in pixels, on which the scores are compared.
SIDES = {
    "alexnet": 80,
    **dict.fromkeys(("densenet121", "densenet161", "densenet169", "densenet201"), 32),
    "googlenet": 48,
    **dict.fromkeys(("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"), 64),
    **dict.fromkeys(("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"), 32),
    **dict.fromkeys(("vgg11_bn", "vgg16"), 32),
    **dict.fromkeys(("wide_resnet50_2", "wide_resnet101_2"), 32),
}
VGGS = ("vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn")

Pair = tuple[nn.Module, nn.Module]  # ours and torchvision's


def whole(name: str) -> Pair:
    return on_meta(name, classes=7), theirs(name, 7)


def narrow(name: str) -> Pair:
    """With small hidden layers: the size of the nets is in those layers, and their scores are compared in full."""
    pair = whole(name)
    for net in pair:
        places = [i for i, layer in enumerate(net.classifier) if isinstance(layer, nn.Linear)]
        widths = (net.classifier[places[0]].in_features, 32, 16, 7)
        for i, c_in, c_out in zip(places, widths[:-1], widths[1:], strict=True):
            net.classifier[i] = nn.Linear(c_in, c_out)
    return pair


def one_unit_a_stage(unit: Callable[..., nn.Module], **widths: int) -> Pair:
    """Bottleneck nets that are quick in float64: each unit has the full width, and its shortcut a projection."""
    reference = torchvision.models.ResNet(TheirBottleneck, [1, 1, 1, 1], 7, **widths)
    return imagenet(unit, 4, (1, 1, 1, 1))(classes=7), reference


# How to make the two, and the side of the images in pixels.
STEPS: dict[str, tuple[Callable[[], Pair], int]] = {
    "alexnet": (lambda: narrow("alexnet"), 63),
    "densenet121": (lambda: whole("densenet121"), 64),
    "googlenet": (lambda: whole("googlenet"), 64),
    "resnet18": (lambda: whole("resnet18"), 64),
    "resnet50": (lambda: whole("resnet50"), 64),
    "resnext_32x4d": (lambda: one_unit_a_stage(resnext.bottleneck(32, 4), groups=32, width_per_group=4), 64),
    "vgg11": (lambda: narrow("vgg11"), 32),
    "vgg13_bn": (lambda: narrow("vgg13_bn"), 32),
    "wide_resnet_2": (lambda: one_unit_a_stage(wide_resnet.wide_bottleneck, width_per_group=128), 64),
}


def without_dropout(net: nn.Module) -> nn.Module:
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return net


def loss_of(outputs: Tensor | ModelOutput | tuple[Tensor, Tensor, Tensor], y: Tensor) -> Tensor:
    """Auxiliary losses count less, and each its own, so that the two cannot change places unnoticed."""
    if isinstance(outputs, Tensor):
        return F.cross_entropy(outputs, y)
    first, second = outputs.auxiliary if isinstance(outputs, ModelOutput) else outputs[:0:-1]
    return F.cross_entropy(outputs[0], y) + 0.3 * F.cross_entropy(first, y) + 0.1 * F.cross_entropy(second, y)


@pytest.mark.parametrize("name", sorted({*SIDES, *VGGS}))
def test_the_multiply_adds_are_torchvisions(name: str) -> None:
    total = sum(layer.multiply_adds for layer in layer_table(on_meta(name), (3, 224, 224)))
    published = torchvision.models.get_model_weights(name).IMAGENET1K_V1.meta["_ops"]  # in units of 10^9
    assert total / 1e9 == pytest.approx(published, rel=0.005)


@pytest.mark.parametrize("name", SIDES)
def test_torchvisions_weights_load_and_give_torchvisions_scores(name: str) -> None:
    reference = shaken(theirs(name, classes=11).to_empty(device="cpu")).eval()
    ours = on_meta(name, classes=11)
    assert list(ours.state_dict()) == list(reference.state_dict())
    ours.load_state_dict(reference.state_dict(), strict=True, assign=True)
    x = torch.randn(2, 3, SIDES[name], SIDES[name])
    with torch.inference_mode():
        expected = reference(x)
        tolerance = 1e-5 * expected.abs().max().item()
        torch.testing.assert_close(ours.eval()(x), expected, rtol=0, atol=tolerance)
    assert expected.std() > 1e-3, "scores that say nothing would agree whatever the network"


@pytest.mark.parametrize("name", STEPS)
def test_one_training_step_has_torchvisions_loss_gradients_and_statistics(name: str) -> None:
    # In float64, where a different order of summation cannot pass for, or hide, a different computation.
    make, side = STEPS[name]
    ours, reference = (without_dropout(net.to_empty(device="cpu").double()) for net in make())
    ours.load_state_dict(shaken(reference).state_dict())
    x, y = torch.randn(2, 3, side, side, dtype=torch.float64), torch.tensor([1, 5])
    losses = []
    for net in (ours.train(), reference.train()):
        loss = loss_of(net(x), y)
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
