"""Results about single images as a page with their pictures, self-contained, and as rows of a CSV file."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from skipway.bundle import write_atomically
from skipway.data.dataset import Item
from skipway.data.decode import WHITE, channels_in, decode_reduced
from skipway.deploy.predict.video import FrameReader
from skipway.reporting import html
from skipway.reporting.pictures import as_rgb, as_uri

SIDE = 136  # pixels of a picture on the page, which keeps its proportions within a square
QUALITY = 75  # of WebP


@dataclass(frozen=True)
class Tile:
    """A picture on the page, a data URI, with the image's name and lines about it."""

    picture: str
    name: str
    lines: tuple[str, ...] = ()


@dataclass(frozen=True)
class Group:
    """Pictures that belong together; caption: "" for none."""

    caption: str
    tiles: tuple[Tile, ...]


@dataclass(frozen=True)
class Section:
    """A part of the page; note: a sentence or two below the title, "" for none."""

    title: str
    note: str
    groups: tuple[Group, ...]


class Thumbnails:
    """Small pictures of images: of files and frames of videos by name, or of items."""

    def __init__(self) -> None:
        self.frames = FrameReader()

    def of(self, name: str, item: Item | None = None) -> str:
        """The image as a data URI; `item` None: the file, or frame, of that name. Raises DataError for one that cannot
        be read (any more)."""
        pixels = self.frames.read(name) if item is None else None
        if pixels is None:
            item = Path(name) if item is None else item
            image = decode_reduced(item, channels_in(item, name), name, WHITE, least=SIDE).image
            pixels = image.permute(1, 2, 0).numpy()
        picture = as_rgb(pixels)
        how = Image.Resampling.NEAREST if max(picture.size) < SIDE else Image.Resampling.LANCZOS
        return as_uri(ImageOps.pad(picture, (SIDE, SIDE), how, color=WHITE), QUALITY)


def write_page(file: Path, title: str, about: Sequence[str], sections: Sequence[Section]) -> None:
    """The page in `file`; `about`: sentences below its title."""
    text = html.render("picture_page.html", "skipway.commands", title=title, about=about, sections=sections, side=SIDE)
    write_atomically(file, text.encode())


def write_rows(file: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    """A CSV file with these columns; what a row lacks is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(file, text.getvalue().encode("utf-8", "surrogateescape"))
