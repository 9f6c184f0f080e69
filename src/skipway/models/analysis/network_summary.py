"""Layers and totals of a network by name."""

import re
from typing import Any

from skipway import models
from skipway.errors import SkipwayError
from skipway.hardware import ShapesOnly
from skipway.models.analysis.paper_results import PUBLISHED
from skipway.models.analysis.trace import Layer, activation_bytes, depth, layers
from skipway.models.base import Network


def traced(name: str, given: str, classes: int | None) -> tuple[Network, tuple[int, int, int], list[Layer]]:
    """The network on the meta device, its input shape, and its layers. Raises SkipwayError."""
    if models.is_dense(name):
        body = models.BODY_OF[name]
        raise SkipwayError(f"{name} is not a classification network: `skipway show {body}` shows its body")
    models.require_name(name)
    side = PUBLISHED[name].size
    shape = parse_input(given) if given else (3, side, side)
    with ShapesOnly():
        net = models.build(name, classes, shape[0])
    if min(shape[1:]) < net.smallest:
        raise SkipwayError(
            f"images of {min(shape[1:])} pixels are too small for {name}: the smallest is {net.smallest}; "
            "give a larger --input"
        )
    return net, shape, layers(net, shape)


def parse_input(text: str) -> tuple[int, int, int]:
    """ "3x224x224" or "224" as channels, height and width. Raises SkipwayError."""
    found = re.fullmatch(r"(?:(\d{1,4})x(\d{1,5})x)?(\d{1,5})", text)
    given = [int(part) for part in found.groups() if part] if found else [0]
    channels, height, width = given if len(given) == 3 else (3, given[0], given[0])
    if not (channels and height and width):
        raise SkipwayError(f"--input '{text}' is not a shape: give channels, height and width as 3x224x224, or 224")
    return channels, height, width


def totals(net: Network, shape: tuple[int, int, int], steps: list[Layer]) -> dict[str, Any]:
    """Total cost of a network; `parameters`: all of them, `in_training_alone`: those not used in evaluation.

    `kept`: bytes that training stores per image for the backward pass; `receptive`: receptive field of the last map.
    """
    parameters = sum(p.numel() for p in net.parameters())
    return {
        "parameters": parameters,
        "in_training_alone": parameters - sum(step.parameters for step in steps),
        "multiply_adds": sum(step.multiply_adds for step in steps),
        "depth": depth(steps),
        "receptive": [step for step in steps if step.output[1:] not in {(), (1, 1)} or len(steps) == 1][-1].receptive,
        "kept": activation_bytes(net, shape),
    }
