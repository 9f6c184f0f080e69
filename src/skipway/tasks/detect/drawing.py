"""Objects drawn on their image: boxes, masks, classes and scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from skipway.tasks.detect.prediction import Object

# Okabe and Ito's colours, which are safe for colour blindness, the darkest last
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#0072B2")
INK = "#111111"
CLEAR = 0.45  # opacity of a mask
MARGIN = 2  # pixels around a label
SMALLEST_FONT = 10  # pixels


def colour_of(label: str, classes: Sequence[str]) -> str:
    """The colour of a class, the same in every picture."""
    return COLOURS[list(classes).index(label) % len(COLOURS)]


def draw_objects(
    image: Image.Image, objects: Sequence[Object], classes: Sequence[str], scores: bool = True
) -> Image.Image:
    """A copy of an RGB image with `objects`, whose boxes are in its pixels; the best on top.

    scores: whether scores stand beside the classes.
    """
    drawn = image.copy()
    for one in reversed(objects):
        if one.mask is not None:
            drawn = with_mask(drawn, one.mask, colour_of(one.label, classes))
    pen = ImageDraw.Draw(drawn)
    line = max(2, round(max(image.size) / 300))
    font = ImageFont.load_default(max(SMALLEST_FONT, round(max(image.size) / 45)))
    for one in reversed(objects):
        colour = colour_of(one.label, classes)
        left, top, right, bottom = one.box
        if right > left and bottom > top:
            pen.rectangle((left, top, right, bottom), outline=colour, width=line)
        text = f"{one.label} {one.score:.2f}" if scores else one.label
        x0, y0, x1, y1 = pen.textbbox((0, 0), text, font=font)
        width, height = x1 - x0 + 2 * MARGIN, y1 - y0 + 2 * MARGIN
        x = min(max(left, 0), max(image.width - width, 0))
        y = top - height if top >= height else top
        pen.rectangle((x, y, x + width, y + height), fill=colour)
        pen.text((x + MARGIN - x0, y + MARGIN - y0), text, fill=INK, font=font)
    return drawn


def with_mask(image: Image.Image, mask: dict[str, Any], colour: str) -> Image.Image:
    """The image with a run-length encoded mask of its size in `colour`."""
    from faster_coco_eval.core import mask as coco_mask

    inside = Image.fromarray((coco_mask.decode(mask) * round(255 * CLEAR)).astype(np.uint8))
    return Image.composite(Image.new("RGB", image.size, colour), image, inside)
