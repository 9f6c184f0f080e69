"""Pages of TIFF files as images, one at a time. A page is called by its file and its number from 0, as in "scan.tif#2".

A TIFF file whose pages are the channels of one image stays one image: see `data.decode`.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from skipway.data.decode import open_image, require_file, translate_errors
from skipway.data.fitting import Fitting
from skipway.data.zip_images import ZipImages, entry_of
from skipway.deploy.predict.pictures import read_picture
from skipway.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

    from skipway.data.dataset import Item

SUFFIXES = frozenset({".tif", ".tiff"})
MOST = 10_000  # pages that are counted; readers walk from each to the next
PAGE = re.compile(r"(?P<file>.+)#(?P<number>\d{1,5})", re.DOTALL)


def pages_in(path: Path) -> int:
    """How many pages a TIFF file has, at most MOST; 1 for any other file, and for one that cannot be read."""
    if path.suffix.lower() not in SUFFIXES or not path.is_file():
        return 1
    try:
        with translate_errors(str(path)):
            require_file(path, str(path))
            with open_image(path, str(path)) as image:
                return counted(image)
    except DataError:
        return 1


def counted(image: "Image.Image") -> int:
    """How many pages an opened file has, at most MOST."""
    count = 1
    with suppress(EOFError):
        while count < MOST:
            image.seek(count)
            count += 1
    return count


def page_of(name: str) -> tuple[Path, int] | None:
    """The file and the number of the page called `name`; None for the name of any other image."""
    found = PAGE.fullmatch(name)
    if found is None or Path(found["file"]).suffix.lower() not in SUFFIXES:
        return None
    return Path(found["file"]), int(found["number"])


def pages_of(path: Path, shown: str, preprocessing: Fitting) -> Iterator[tuple[str, np.ndarray | DataError]]:
    """Each page's name with its pixels, uint8 (H, W, C), decoded when it is taken, or with why it cannot be read."""
    for number in range(pages_in(path)):
        name = f"{shown}#{number}"
        try:
            yield name, read_page(path, number, name, preprocessing)
        except DataError as fault:
            yield name, fault


def item_called(name: str, preprocessing: Fitting) -> "Item":
    """The image called `name`: a page, an entry of an archive, or a file. Raises DataError."""
    if (page := page_of(name)) and not Path(name).exists():
        return read_page(*page, name, preprocessing)
    if entry := entry_of(name):
        return ZipImages(entry[0]).read(entry[1])
    return Path(name)


def read_page(path: Path, number: int, name: str, preprocessing: Fitting) -> np.ndarray:
    """A page as uint8 (H, W, C). Raises DataError."""
    with translate_errors(name), open_image(path, name) as image:
        image.seek(number)
        return read_picture(image, preprocessing, name)
