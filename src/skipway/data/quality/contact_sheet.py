"""A contact sheet of the images of every class, preprocessed as for evaluation, with their boxes or label maps."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from skipway.data.box_targets import BoxTargets
from skipway.data.dataset import Dataset, Split
from skipway.data.mask_encoding import BACKGROUND as NO_OBJECT
from skipway.data.mask_targets import IGNORE, MaskTargets
from skipway.data.preprocess import Placement, Preprocessing
from skipway.errors import DataError, printable

PER_CLASS = 8  # images per class
MAX_CLASSES = 24
MIN_TILE = 64  # minimum side of a tile in pixels; smaller images are enlarged by an integer factor, nearest neighbour
GAP = 6
TEXT = 14  # height of a row in pixels
BACKGROUND, FOREGROUND, ERROR_COLOUR = (255, 255, 255), (30, 30, 30), (190, 30, 30)
MAX_NAME = 16  # characters of a class's name beside a box
NAME_HEIGHT = 12  # pixels
OPACITY = 0.5  # of the colour of a class over its pixels
GOLDEN_RATIO = 0.618033988749895  # of the colour circle between one class and the next: no two are alike


@dataclass(frozen=True)
class ClassRow:
    """A row of the sheet: the class's index, its name and number of images, and the indices of those shown."""

    label: int
    title: str
    indices: np.ndarray


def class_rows(split: Split, classes: Sequence[str]) -> list[ClassRow]:
    """Rows of the first MAX_CLASSES classes with images, each with PER_CLASS images spaced evenly over the split."""
    rows: list[ClassRow] = []
    for label, name in enumerate(classes):
        members = split.targets.members(label)
        if len(members) and len(rows) < MAX_CLASSES:
            chosen = np.unique(np.linspace(0, len(members) - 1, PER_CLASS).astype(int))
            rows.append(ClassRow(label, f"{printable(name)}: {len(members):,} images", members[chosen]))
    return rows


def colour_of(label: int) -> tuple[int, int, int]:
    """A bright colour for a class, on which black text can be read."""
    red, green, blue = colorsys.hsv_to_rgb(label * GOLDEN_RATIO % 1, 0.55, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_boxes(
    image: Image.Image, targets: BoxTargets, index: int, place: Placement, scale: int, classes: Sequence[str]
) -> None:
    """Draw the boxes of the image at `index` on `image`, its preprocessed copy enlarged by `scale`, in which it lies at
    `place`; with a dark edge, so that they are visible on any photograph."""
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(NAME_HEIGHT - 2)
    rows = targets.rows(index)
    across, down = np.array([place.width, place.height]) * scale / targets.sizes[index, ::-1]
    factors, shift = np.array([across, down] * 2), np.array([place.left, place.top] * 2) * scale
    for box, label in zip(targets.boxes[rows] * factors + shift, targets.labels[rows], strict=True):
        left, top, right, bottom = np.round(box).astype(int).tolist()
        right, bottom = max(left + 1, right - 1), max(top + 1, bottom - 1)
        draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=FOREGROUND, width=4)
        draw.rectangle((left, top, right, bottom), outline=colour_of(label), width=2)
        name = printable(classes[label])[:MAX_NAME]
        above = max(0, top - NAME_HEIGHT)
        draw.rectangle(
            (left, above, left + draw.textlength(name, font) + 3, above + NAME_HEIGHT), fill=colour_of(label)
        )
        draw.text((left + 2, above), name, fill=FOREGROUND, font=font)


def with_labels(
    image: Image.Image, labels: np.ndarray, place: Placement, scale: int, classes: Sequence[str], colours: np.ndarray
) -> Image.Image:
    """`image`, a preprocessed copy enlarged by `scale`, in which the original lies at `place`, with the colours of
    `labels`, uint8 (H, W), over it; the background and ignored pixels are left as they are."""
    table = np.zeros((256, 4), dtype=np.uint8)
    table[: len(colours), :3] = colours
    for label, name in enumerate(classes):
        table[label, 3] = 0 if name == NO_OBJECT else round(255 * OPACITY)
    table[IGNORE] = 0
    size = (place.width * scale, place.height * scale)
    fitted = Image.fromarray(table[np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))])
    over = Image.new("RGBA", image.size)
    over.paste(fitted, (place.left * scale, place.top * scale))
    return Image.alpha_composite(image.convert("RGBA"), over).convert("RGB")


def tile(
    split: Split, index: int, preprocessing: Preprocessing, scale: int, classes: Sequence[str], colours: np.ndarray
) -> Image.Image:
    """A preprocessed image, with its boxes or label map if it has any; if it cannot be read, the reason in red."""
    side = preprocessing.size * scale
    try:
        pixels, size = preprocessing.opened(split.items[index], split.names[index])
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
    image = image.resize((side, side), Image.Resampling.NEAREST)
    if isinstance(split.targets, BoxTargets):
        draw_boxes(image, split.targets, index, preprocessing.placement(*size), scale, classes)
    if isinstance(split.targets, MaskTargets):
        place = preprocessing.placement(*size)
        return with_labels(image, split.targets.label_map(index), place, scale, classes, colours)
    return image


def contact_sheet(dataset: Dataset, preprocessing: Preprocessing, colours: np.ndarray) -> Image.Image:
    """Training images of `dataset`, one row per class, with their boxes or label maps; of more than 3 channels the
    first three. For these, the preprocessing must keep the entire image. `colours`: uint8 (classes, 3), of the classes
    in label maps.

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
        left = GAP
        if isinstance(dataset.train.targets, MaskTargets):
            draw.rectangle((GAP, top, GAP + TEXT - 2, top + TEXT - 2), fill=tuple(colours[row.label].tolist()))
            left += TEXT + GAP
        draw.text((left, top), row.title, fill=FOREGROUND, font=font)
        for j, index in enumerate(row.indices):
            drawn = tile(dataset.train, int(index), p, scale, dataset.classes, colours)
            sheet.paste(drawn, (GAP + j * (side + GAP), top + TEXT + GAP))
    return sheet
