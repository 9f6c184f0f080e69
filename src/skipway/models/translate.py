"""Others' names and channel orders for the networks that we have, turned into ours.

Every translation is exact: the same function, other names. Which one a file needs is told by its names alone.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from skipway.models import preresnet

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Layout:
    """A way to write networks down: how to tell it, how to turn it into ours, and that in words for people."""

    said: str
    fits: Callable[[Tensors], bool]
    turned: Callable[[Tensors], dict[str, Tensor]]


def renamed(weights: Tensors, old: str, new: str) -> dict[str, Tensor]:
    """`weights` with the beginning `old` of a name replaced by `new`."""
    return {new + key.removeprefix(old) if key.startswith(old) else key: value for key, value in weights.items()}


# ---------------------------------------------------------------------------------------------------------------------
# CIFAR nets whose shortcuts pad on both sides (github.com/akamaster/pytorch_resnet_cifar10)


def pads_both_sides(weights: Tensors) -> bool:
    """Three stages, a head called `linear`, and shortcuts without a parameter."""
    shortcuts = any(".shortcut." in key or ".downsample." in key for key in weights)
    stages = all(f"layer{stage}.0.conv2.weight" in weights for stage in (1, 2, 3))
    return "linear.weight" in weights and stages and not shortcuts


def channel_orders(weights: Tensors) -> list[Tensor]:
    """For each stage, our channel i as a channel of theirs.

    Where the width grows from c to c', theirs keep (c' - c) / 2 zeros before the old channels and as many after them;
    ours puts the old channels first and all zeros after. So ours are the old ones, where theirs lie, then the rest.
    """
    order = torch.arange(weights["layer1.0.conv2.weight"].shape[0])
    orders = [order]
    for stage in ("layer2", "layer3"):
        width = weights[f"{stage}.0.conv2.weight"].shape[0]
        before = (width - len(order)) // 2
        old = torch.arange(before, before + len(order))
        rest = torch.tensor([i for i in range(width) if not before <= i < before + len(order)])
        order = torch.cat([old[order], rest])
        orders.append(order)
    return orders


def pad_after(weights: Tensors) -> dict[str, Tensor]:
    """The same network with its zeros after the channels: every map between units has its channels in our order."""
    orders = channel_orders(weights)
    turned = renamed(weights, "linear.", "fc.")
    for key, value in turned.items():
        place = re.fullmatch(r"layer([123])\.(\d+)\.(conv1|conv2|bn2)\.(\w+)", key)
        if place is None or value.dim() == 0:  # a count of batches has no channels
            continue
        stage, unit, part = int(place[1]) - 1, int(place[2]), place[3]
        if part == "conv1":  # reads what the unit before it, or the stage before it, wrote
            turned[key] = value[:, orders[stage if unit or not stage else stage - 1]]
        else:
            turned[key] = value[orders[stage]]
    turned["fc.weight"] = turned["fc.weight"][:, orders[-1]]
    return turned


# ---------------------------------------------------------------------------------------------------------------------
# torchvision's and timm's files whose names differ from torchvision's networks

DOTTED = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)")


def dots_in_dense_layers(weights: Tensors) -> bool:
    """torchvision's DenseNet files, which are older than the rule that a module's name has no dot."""
    return any(DOTTED.fullmatch(key) for key in weights)


def undotted(weights: Tensors) -> dict[str, Tensor]:
    return {DOTTED.sub(r"\1\2", key): value for key, value in weights.items()}


def convolves_its_classifier(weights: Tensors) -> bool:
    """timm's VGG: the first two linear layers are convolutions."""
    return {"pre_logits.fc1.weight", "pre_logits.fc2.weight"} <= set(weights)


def linear_classifier(weights: Tensors) -> dict[str, Tensor]:
    turned = dict(weights)
    for old, new in (
        ("pre_logits.fc1.", "classifier.0."),
        ("pre_logits.fc2.", "classifier.3."),
        ("head.fc.", "classifier.6."),
    ):
        turned = renamed(turned, old, new)
    for key in ("classifier.0.weight", "classifier.3.weight"):
        turned[key] = turned[key].flatten(1)
    return turned


def is_resnetv2(weights: Tensors) -> bool:
    """timm's pre-activation networks."""
    return "stem.conv.weight" in weights and "stages.0.blocks.0.norm1.weight" in weights


LAYOUTS = (
    Layout(
        "the head `linear` is our `fc`, and channels are reordered: option A shortcuts in the file are taken to pad "
        "zeros on both sides, as akamaster's do, where ours pad after",
        pads_both_sides,
        pad_after,
    ),
    Layout("dots in the names of dense layers are taken out", dots_in_dense_layers, undotted),
    Layout("timm's convolutional classifier is our linear one", convolves_its_classifier, linear_classifier),
    Layout("timm's resnetv2 names are our preresnet's", is_resnetv2, preresnet.from_timm),
)


def translated(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """`weights` in our names and orders, and what was done, in words; as they are, and "", where nothing was."""
    for layout in LAYOUTS:
        if layout.fits(weights):
            return layout.turned(weights), layout.said
    return weights, ""
