"""Files of generated images: single ones and grids, as PNG with text that says how they were made."""

import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, PngImagePlugin

from skipway.deploy.generate.request import GeneratedImage
from skipway.errors import refuse_if
from skipway.tasks.generate.grid import arranged, enlarged, split

MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}  # by the number of channels
LEGIBLE = 64  # pixels of the longer side that a grid enlarges small images to
OBLONG = 4  # rows over columns, or columns over rows, above which a grid no longer gives each class its own rows
MOST_IN_GRID = 4096
NAMED = 12  # classes that the text of a grid lists


def require_channels(channels: int) -> None:
    """Raises SkipwayError for images that no PNG holds."""
    advice = "give no --out, and use skipway.generate, which returns them"
    refuse_if(channels not in MODES, f"images of {channels} channels are no PNG", advice)


def as_picture(pixels: np.ndarray) -> Image.Image:
    """uint8 (H, W, C) as grey, grey with alpha, RGB or RGBA. Raises SkipwayError for other numbers of channels."""
    require_channels(pixels.shape[2])
    return Image.fromarray(np.ascontiguousarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels))


def png(picture: Image.Image, text: Mapping[str, str]) -> bytes:
    """The picture as PNG with `text` by keyword: tEXt chunks, iTXt for characters outside of Latin-1."""
    entries, file = PngImagePlugin.PngInfo(), io.BytesIO()
    for keyword, value in text.items():
        entries.add_text(keyword, value)
    picture.save(file, "PNG", pnginfo=entries, optimize=True)
    return file.getvalue()


def image_png(image: GeneratedImage) -> bytes:
    """The image as PNG with its text, to the pixel."""
    return png(as_picture(image.pixels), image.text())


def grid_rows(labels: Sequence[str | None]) -> list[list[int]]:
    """The positions of images in the rows of a grid that is about as high as wide.

    Images of several classes are ordered by class, in the order in which the classes first occur; each class starts a
    row of its own unless the grid became OBLONG times as long as wide.
    """
    groups: dict[str | None, list[int]] = {}
    for position, label in enumerate(labels):
        groups.setdefault(label, []).append(position)
    most = max(map(len, groups.values()))
    for_each = max(1, round(math.sqrt(most / len(groups))))  # rows of a class
    columns = math.ceil(most / for_each)
    rows = [row for group in groups.values() for row in split(group, columns)]
    if max(len(rows) / columns, columns / len(rows)) <= OBLONG:
        return rows
    ordered = [position for group in groups.values() for position in group]
    return split(ordered, math.ceil(math.sqrt(len(ordered))))


def grid(images: Sequence[np.ndarray], rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Images uint8 (H, W, C) of equal shape as one, enlarged if they are small; `rows`: as of `grid_rows`."""
    return arranged([enlarged(image, LEGIBLE) for image in images], rows)


def require_few(count: int) -> None:
    """Raises SkipwayError for more images than fit into one grid."""
    advice = "give --out FOLDER/ for a file an image"
    refuse_if(count > MOST_IN_GRID, f"{count:,} images are too many for one grid of at most {MOST_IN_GRID:,}", advice)


def grid_text(images: Sequence[GeneratedImage]) -> dict[str, str]:
    """The text of a file that shows several images of one request: as an image's own, with all numbers and classes."""
    names = list(dict.fromkeys(image.text()["class"] for image in images))
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    first, last = images[0].index, images[-1].index
    index = str(first) if first == last else f"{first}-{last}"
    return {**images[0].settings, "index": index, "class": ", ".join(names[:NAMED]) + more}


def interpolation_rows(count: int, between: int) -> list[list[int]]:
    """The positions of `count` images, of which each is followed by `between` on the way to the next: a row for each
    way, with both of its ends."""
    step = between + 1
    return [list(range(start, start + step + 1)) for start in range(0, count - 1, step)]


def grid_png(images: Sequence[GeneratedImage], rows: Sequence[Sequence[int]] | None = None) -> bytes:
    """The images as one PNG with text; rows: None for those of `grid_rows`. Raises SkipwayError where the images are
    too many, or of too many channels."""
    require_few(len(images))
    rows = rows or grid_rows([image.label for image in images])
    return png(as_picture(grid([image.pixels for image in images], rows)), grid_text(images))
