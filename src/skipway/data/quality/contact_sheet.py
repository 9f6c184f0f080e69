"""A contact sheet of the images of every class, preprocessed as for evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from skipway.data.dataset import Dataset, Split
from skipway.data.preprocess import Preprocessing
from skipway.data.quality.issues import printable
from skipway.errors import DataError

PER_CLASS = 8  # images per class
MAX_CLASSES = 24
MIN_TILE = 64  # minimum side of a tile in pixels; smaller images are enlarged by an integer factor, nearest neighbour
GAP = 6
TEXT = 14  # height of a row in pixels
BACKGROUND, FOREGROUND, ERROR_COLOUR = (255, 255, 255), (30, 30, 30), (190, 30, 30)


@dataclass(frozen=True)
class ClassRow:
    """A row of the sheet: the class's name and number of images, and the indices of those shown."""

    title: str
    indices: np.ndarray


def class_rows(split: Split, classes: Sequence[str]) -> list[ClassRow]:
    """Rows of the first MAX_CLASSES classes with images, each with PER_CLASS images spaced evenly over the split."""
    rows: list[ClassRow] = []
    for label, name in enumerate(classes):
        members = split.targets.members(label)
        if len(members) and len(rows) < MAX_CLASSES:
            chosen = np.unique(np.linspace(0, len(members) - 1, PER_CLASS).astype(int))
            rows.append(ClassRow(f"{printable(name)}: {len(members):,} images", members[chosen]))
    return rows


def tile(split: Split, index: int, preprocessing: Preprocessing, scale: int) -> Image.Image:
    """A preprocessed image; if it cannot be read, the reason in red."""
    side = preprocessing.size * scale
    try:
        pixels = preprocessing.open(split.items[index], split.names[index])
    except DataError as error:
        message = printable(str(error))
        empty = Image.new("RGB", (side, side), BACKGROUND)
        draw = ImageDraw.Draw(empty)
        draw.rectangle((0, 0, side - 1, side - 1), outline=ERROR_COLOUR, width=2)
        width = max(8, side // 6)
        wrapped = "\n".join(message[i : i + width] for i in range(0, len(message), width))
        draw.multiline_text((5, 4), wrapped, fill=ERROR_COLOUR, font=ImageFont.load_default(10))
        return empty
    rgb = pixels[:3] if preprocessing.channels >= 3 else pixels[:1].repeat(3, 1, 1)
    image = Image.fromarray(np.ascontiguousarray(rgb.permute(1, 2, 0).numpy()))
    return image.resize((side, side), Image.Resampling.NEAREST)


def contact_sheet(dataset: Dataset, preprocessing: Preprocessing) -> Image.Image:
    """Training images of `dataset`, one row per class; of more than 3 channels the first three.

    Raises DataError if there are no training images.
    """
    rows = class_rows(dataset.train, dataset.classes)
    if not rows:
        raise DataError(f"{dataset.name} has no training images to show: check the folder, or name another")
    scale = -(-MIN_TILE // preprocessing.size)
    side = preprocessing.size * scale
    row_height = side + TEXT + 2 * GAP
    hidden = len(dataset.classes) - len(rows)
    columns = max(len(row.indices) for row in rows)
    width = max(GAP + columns * (side + GAP), 360)
    sheet = Image.new("RGB", (width, 3 * GAP + TEXT + row_height * len(rows)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(TEXT - 2)
    p = preprocessing
    more = f"; {hidden} classes are not shown" if hidden else ""
    draw.text((GAP, GAP), f"{p.size} x {p.size} pixels, fit {p.fit}{more}", fill=FOREGROUND, font=font)
    for i, row in enumerate(rows):
        top = 2 * GAP + TEXT + row_height * i
        draw.text((GAP, top), row.title, fill=FOREGROUND, font=font)
        for j, index in enumerate(row.indices):
            sheet.paste(tile(dataset.train, int(index), p, scale), (GAP + j * (side + GAP), top + TEXT + GAP))
    return sheet
