"""Recognise data sets of images with masks by their file layout, and whether the masks are label maps or number the
objects of each image.

A few masks are read: their names must be those of images, their sizes the same, and their colours few and in areas. No
other folder beside those of images and masks may have images: then all of them are classes.
"""

import re
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from skipway.data.decode import DECODE_ERRORS, is_array, open_image
from skipway.data.formats.cityscapes import is_cityscapes
from skipway.data.formats.class_table import FILES
from skipway.data.formats.folder import split_folders
from skipway.data.formats.image_size import read_size
from skipway.data.formats.mask_folders import FolderPair, folder_pairs, list_pair, pair_in, stands_alone
from skipway.data.formats.masked_images import quiet
from skipway.data.formats.voc_semantic import segmentation_folders
from skipway.data.mask_source import MaskError, read_values
from skipway.errors import DataError

SAMPLED = 20  # masks that are read, in name order
MOST_COLOURS = 256  # of a mask; photographs have thousands
MOST_CHANGES = 0.5  # share of a mask's neighbouring pixels that differ; of grey photographs, 0.6 to 1
MANY_VALUES = 128  # smooth edges have them too, but then few neighbours differ
MANY_CHANGES = 0.25  # the share in masks of MANY_VALUES; of photographs before a plain background, more
LABEL_MAPS = re.compile(r"annot|label|segmentation_?class|gt|ground", re.IGNORECASE)  # in the names of folders
CHOSEN = {
    "semantic": "the masks are read as label maps; --format masks takes the values of each for its objects",
    "masks": "the values of each mask are taken for its objects, 1 to n; --format semantic reads them as classes",
}


def sample(pairs: Sequence[FolderPair]) -> list[tuple[Path, Path]]:
    """Images of the first pair of folders with their masks; empty if fewer than half of the images have one."""
    listing = list_pair(pairs[0])
    both = [stem for stem in listing.images if stem in listing.masks]
    if 2 * len(both) < len(listing.images):
        return []
    return [(listing.images[stem][0], listing.masks[stem][0]) for stem in islice(both, SAMPLED)]


def changes(pixels: np.ndarray) -> float:
    """The share of the neighbours in rows and columns that differ, of pixels (H, W) or (H, W, channels)."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    pairs = ((pixels[:, 1:], pixels[:, :-1]), (pixels[1:], pixels[:-1]))
    differ = np.concatenate([(one != other).any(2).ravel() for one, other in pairs])
    return float(differ.mean()) if differ.size else 0.0


def has_areas(mask: Path) -> bool:
    """Whether `mask` has few colours in areas; a photograph has not."""
    if is_array(mask):
        return True
    try:
        with open_image(mask, mask.name) as image:
            if image.mode.startswith("I"):
                return changes(np.asarray(image)) <= MOST_CHANGES
            colours = image.convert("RGB")
    except (*DECODE_ERRORS, DataError):
        return False
    found = colours.getcolors(MOST_COLOURS)
    limit = MOST_CHANGES if len(found or ()) <= MANY_VALUES else MANY_CHANGES
    return found is not None and changes(np.asarray(colours)) <= limit


def is_mask_of(mask: Path, image: Path) -> bool:
    """Whether `mask` has the size of `image`, upright or as stored, and few colours in areas."""
    size, own = read_size(image), read_size(mask)
    if size is None or own is None:
        return False
    return (own.width, own.height) in ((size.width, size.height), size.stored) and has_areas(mask)


def number_objects(masks: Sequence[Path]) -> bool:
    """Whether the values of each mask are 1 to n besides 0, with several n, of which one is above 1: those of objects,
    not of classes, of which not every image has the first n."""
    numbers = set()
    for mask in masks:
        try:
            values = np.unique(read_values(mask, coloured=False))
        except MaskError:
            return False
        found = values[values > 0]
        if len(found) and found.tolist() != list(range(1, len(found) + 1)):
            return False
        numbers.add(len(found))
    return len(numbers) > 1 and max(numbers) > 1


def format_of_pairs(root: Path, pairs: Sequence[FolderPair]) -> tuple[str, tuple[str, ...]] | None:
    """As `find_mask_format`, by the files in `pairs`: semantic, masks, or None if they are not images and masks."""
    found = sample(pairs)
    if not found or 2 * sum(is_mask_of(mask, image) for image, mask in found) <= len(found):
        return None
    together = all(pair.images != pair.masks and pair.images.parent == pair.masks.parent for pair in pairs)
    called = {pair.masks.name for pair in pairs}
    listed = any((place / name).is_file() for name in FILES for place in (root, pairs[0].masks, pairs[0].masks.parent))
    ambiguous = together and not listed and all("mask" in name.lower() for name in called)
    if not ambiguous or any(map(LABEL_MAPS.search, called)):
        return "semantic", ()
    chosen = "masks" if number_objects([mask for _, mask in found]) else "semantic"
    return chosen, (CHOSEN[chosen],)


def places_of(root: Path) -> list[Path]:
    """Where folders of images and masks may be: in `root` or in its splits."""
    return [place for place in (root, *split_folders(root).values()) if pair_in(place)]


def find_mask_format(root: Path) -> tuple[str, tuple[str, ...]] | None:
    """The format of the masks in the folder `root`, a key of `data.MASK_FORMATS` or masks, and what is to be said of
    the choice; None if there are no masks. Raises DataError for a folder without read permission."""
    if is_cityscapes(root):
        return "cityscapes", ()
    if segmentation_folders(root):
        return "voc-semantic", ()
    pairs = folder_pairs(root)
    if not pairs or not all(map(stands_alone, places_of(root))):
        return None
    with quiet():
        return format_of_pairs(root, pairs)
