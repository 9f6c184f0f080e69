"""Convert state dicts with other libraries' names and channel orders to skipway's.

Every conversion is exact: the network computes the same function. The layout of a file is recognised by its names.
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
    """A state-dict layout: a description of the conversion, how to recognise it, and how to convert it."""

    description: str
    matches: Callable[[Tensors], bool]
    convert: Callable[[Tensors], dict[str, Tensor]]


def renamed(weights: Tensors, old: str, new: str) -> dict[str, Tensor]:
    """`weights` with the prefix `old` of names replaced by `new`."""
    return {new + key.removeprefix(old) if key.startswith(old) else key: value for key, value in weights.items()}


# ---------------------------------------------------------------------------------------------------------------------
# CIFAR networks whose shortcuts pad on both sides (github.com/akamaster/pytorch_resnet_cifar10)


def pads_both_sides(weights: Tensors) -> bool:
    """Whether there are three stages, a head called `linear`, and shortcuts without parameters."""
    shortcuts = any(".shortcut." in key or ".downsample." in key for key in weights)
    stages = all(f"layer{stage}.0.conv2.weight" in weights for stage in (1, 2, 3))
    return "linear.weight" in weights and stages and not shortcuts


def channel_orders(weights: Tensors) -> list[Tensor]:
    """For each stage, the index in the file of our channel i.

    Where the width grows from c to c', the file's shortcut has (c' - c) / 2 zeros before the old channels and as many
    after them; ours has the old channels first and all zeros after. So our order is the old channels, then the rest.
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
    """The same network with zeros padded after the channels: every map between units has our channel order."""
    orders = channel_orders(weights)
    converted = renamed(weights, "linear.", "fc.")
    for key, value in converted.items():
        match = re.fullmatch(r"layer([123])\.(\d+)\.(conv1|conv2|bn2)\.(\w+)", key)
        if match is None or value.dim() == 0:  # num_batches_tracked has no channels
            continue
        stage, unit, part = int(match[1]) - 1, int(match[2]), match[3]
        if part == "conv1":  # its input is the output of the unit or stage before it
            converted[key] = value[:, orders[stage if unit or not stage else stage - 1]]
        else:
            converted[key] = value[orders[stage]]
    converted["fc.weight"] = converted["fc.weight"][:, orders[-1]]
    return converted


# ---------------------------------------------------------------------------------------------------------------------
# torchvision's and timm's files whose names differ from torchvision's networks

DOTTED = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\.\w+)")


def dots_in_dense_layers(weights: Tensors) -> bool:
    """Whether it is torchvision's DenseNet, whose files predate the rule that module names have no dots."""
    return any(DOTTED.fullmatch(key) for key in weights)


def without_dots(weights: Tensors) -> dict[str, Tensor]:
    return {DOTTED.sub(r"\1\2", key): value for key, value in weights.items()}


def convolves_its_classifier(weights: Tensors) -> bool:
    """Whether it is timm's VGG, whose first two linear layers are convolutions."""
    return {"pre_logits.fc1.weight", "pre_logits.fc2.weight"} <= set(weights)


def linear_classifier(weights: Tensors) -> dict[str, Tensor]:
    converted = dict(weights)
    for old, new in (
        ("pre_logits.fc1.", "classifier.0."),
        ("pre_logits.fc2.", "classifier.3."),
        ("head.fc.", "classifier.6."),
    ):
        converted = renamed(converted, old, new)
    for key in ("classifier.0.weight", "classifier.3.weight"):
        converted[key] = converted[key].flatten(1)
    return converted


def is_resnetv2(weights: Tensors) -> bool:
    """Whether it is one of timm's pre-activation networks."""
    return "stem.conv.weight" in weights and "stages.0.blocks.0.norm1.weight" in weights


# ---------------------------------------------------------------------------------------------------------------------
# torchvision's detectors: names of before convolutions were in blocks with their normalisation

BEFORE_BLOCKS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = (
    (re.compile(r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)"), lambda m: f"{m[1]}.0.{m[2]}"),
    (re.compile(r"rpn\.head\.conv\.(weight|bias)"), lambda m: f"rpn.head.conv.0.0.{m[1]}"),
    (
        re.compile(r"roi_heads\.mask_head\.mask_fcn(\d)\.(weight|bias)"),
        lambda m: f"roi_heads.mask_head.{int(m[1]) - 1}.0.{m[2]}",
    ),
)
# Of RetinaNet's towers, where rectifiers had numbers too; FCOS still has such names
TOWER = re.compile(r"(head\.(?:classification|regression)_head\.conv)\.(\d)\.(weight|bias)")


def new_block_name(key: str, tower: bool) -> str:
    """The present name of a tensor of one of torchvision's detectors; `tower`: whether towers are renamed too."""
    for pattern, name in BEFORE_BLOCKS:
        if found := pattern.fullmatch(key):
            return name(found)
    found = TOWER.fullmatch(key) if tower else None
    return f"{found[1]}.{int(found[2]) // 2}.0.{found[3]}" if found else key


def in_blocks(weights: Tensors) -> dict[str, Tensor]:
    tower = "head.regression_head.bbox_ctrness.weight" not in weights
    return {new_block_name(key, tower): value for key, value in weights.items()}


def precedes_blocks(weights: Tensors) -> bool:
    """Whether it is one of torchvision's detectors with names of before."""
    return "backbone.fpn.inner_blocks.0.weight" in weights


def with_epsilon(weights: Tensors, given: float, wanted: float) -> dict[str, Tensor]:
    """`weights` with batch-norm scales that give with the epsilon `wanted` the outputs of those with `given`.

    For running statistics in float64, as a variance may be of the size of the rounding error of an epsilon.
    """
    converted = dict(weights)
    for key, variance in weights.items():
        if key.endswith(".running_var"):
            scale = key.replace("running_var", "weight")
            factor = ((variance.double() + wanted) / (variance.double() + given)).sqrt()
            converted[scale] = (weights[scale] * factor).to(weights[scale].dtype)
    return converted


LAYOUTS = (
    Layout(
        "the head `linear` is renamed to `fc`, and channels are reordered: option A shortcuts in the file are assumed "
        "to pad zeros on both sides, as akamaster's do, while ours pad after",
        pads_both_sides,
        pad_after,
    ),
    Layout("dots are removed from the names of dense layers", dots_in_dense_layers, without_dots),
    Layout(
        "timm's convolutional classifier is converted to linear layers", convolves_its_classifier, linear_classifier
    ),
    Layout("torchvision's earlier detector names are renamed to its present ones", precedes_blocks, in_blocks),
    Layout("timm's resnetv2 names are renamed to preresnet's", is_resnetv2, preresnet.from_timm),
)


def translate(weights: dict[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """`weights` with our names and channel orders, and a description of the conversion; unchanged and "" if none."""
    for layout in LAYOUTS:
        if layout.matches(weights):
            return layout.convert(weights), layout.description
    return weights, ""
