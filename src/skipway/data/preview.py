"""A contact sheet of what a network sees: images of every class, opened and fitted as they are for judging."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from skipway.data.findings import printable
from skipway.data.preprocess import Preprocessing
from skipway.data.source import Source, Split
from skipway.errors import DataError

ACROSS = 8  # images of a class
MOST_CLASSES = 24
LEAST_SIDE = 64  # pixels that a tile has at least; smaller images are enlarged by a whole number, pixels visible
GAP = 6
TEXT = 14  # pixels
PAPER, INK, ALARM = (255, 255, 255), (30, 30, 30), (190, 30, 30)


@dataclass(frozen=True)
class Line:
    """A class on the sheet: its name, how many images it has, and which are shown."""

    title: str
    places: np.ndarray


def lines_of(split: Split, classes: Sequence[str]) -> list[Line]:
    """The first MOST_CLASSES classes that have images, each with ACROSS of them, evenly over the split."""
    lines: list[Line] = []
    for label, name in enumerate(classes):
        members = np.flatnonzero(split.labels == label if split.labels.ndim == 1 else split.labels[:, label])
        if len(members) and len(lines) < MOST_CLASSES:
            chosen = np.unique(np.linspace(0, len(members) - 1, ACROSS).astype(int))
            lines.append(Line(f"{printable(name)}: {len(members):,} images", members[chosen]))
    return lines


def tile(split: Split, place: int, preprocessing: Preprocessing, scale: int) -> Image.Image:
    """An image as the network sees it; of one that cannot be read, the reason in red."""
    side = preprocessing.size * scale
    try:
        pixels = preprocessing.open(split.items[place], split.names[place])
    except DataError as fault:
        said = printable(str(fault))
        empty = Image.new("RGB", (side, side), PAPER)
        draw = ImageDraw.Draw(empty)
        draw.rectangle((0, 0, side - 1, side - 1), outline=ALARM, width=2)
        per_line = max(8, side // 6)
        wrapped = "\n".join(said[i : i + per_line] for i in range(0, len(said), per_line))
        draw.multiline_text((5, 4), wrapped, fill=ALARM, font=ImageFont.load_default(10))
        return empty
    seen = pixels[:3] if preprocessing.channels >= 3 else pixels[:1].repeat(3, 1, 1)
    image = Image.fromarray(np.ascontiguousarray(seen.permute(1, 2, 0).numpy()))
    return image.resize((side, side), Image.Resampling.NEAREST)


def contact_sheet(source: Source, preprocessing: Preprocessing) -> Image.Image:
    """Images of every class of `source`'s train, a row a class; of more than 3 channels the first three.

    Raises DataError when there is no image.
    """
    lines = lines_of(source.train, source.classes)
    if not lines:
        raise DataError(f"{source.name} has no training images to show: check the folder, or name another")
    scale = -(-LEAST_SIDE // preprocessing.size)
    side = preprocessing.size * scale
    row = side + TEXT + 2 * GAP
    hidden = len(source.classes) - len(lines)
    across = max(len(line.places) for line in lines)
    wide = max(GAP + across * (side + GAP), 360)
    sheet = Image.new("RGB", (wide, 3 * GAP + TEXT + row * len(lines)), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(TEXT - 2)
    p = preprocessing
    more = f"; {hidden} classes are not shown" if hidden else ""
    draw.text((GAP, GAP), f"{p.size} x {p.size} pixels, fit {p.fit}{more}", fill=INK, font=font)
    for i, line in enumerate(lines):
        top = 2 * GAP + TEXT + row * i
        draw.text((GAP, top), line.title, fill=INK, font=font)
        for j, place in enumerate(line.places):
            sheet.paste(tile(source.train, int(place), p, scale), (GAP + j * (side + GAP), top + TEXT + GAP))
    return sheet
