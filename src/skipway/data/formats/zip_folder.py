"""Class folders, optionally within train, val and test, in a zip archive."""

from pathlib import Path, PurePosixPath

import numpy as np

from skipway.data.dataset import Dataset
from skipway.data.formats.folder import SPLITS
from skipway.data.label_encoding import NamedLabels, to_dataset
from skipway.data.lazy_images import LazyImages
from skipway.data.read_options import ReadOptions, require_only
from skipway.data.zip_images import ZipImages
from skipway.errors import DataError

SPLIT_OF = {name: split for split, names in SPLITS.items() for name in names}


def open_zip(file: Path, reading: ReadOptions) -> Dataset:
    """The images of an archive by the folders in it, below one folder that holds all of them or not; nothing is
    unpacked. Raises DataError for an archive without class folders, and what `ZipImages` raises."""
    require_only(reading, str(file))
    images = ZipImages(file)
    if not len(images):
        raise DataError(f"{file} has no images: pack a folder with a folder for each class")
    paths = [PurePosixPath(name).parts for name in images.names]
    if len({parts[0] for parts in paths}) == 1 and all(len(parts) > 2 for parts in paths):
        paths = [parts[1:] for parts in paths]  # the folder that was packed
    has_splits = any(SPLIT_OF.get(parts[0].lower()) == "train" and len(parts) > 2 for parts in paths)
    places: dict[str, list[int]] = {}
    for place, parts in enumerate(paths):
        split = SPLIT_OF.get(parts[0].lower()) if has_splits else "train"
        if split is None or len(parts) < (3 if has_splits else 2):
            raise DataError(
                f"{file} has images outside its class folders or splits, such as {images.names[place]}: put the images "
                "of each class into a folder"
            )
        places.setdefault(split, []).append(place)
    return to_dataset(str(file), {split: part(images, paths, at, has_splits) for split, at in places.items()})


def part(images: ZipImages, paths: list[tuple[str, ...]], places: list[int], has_splits: bool) -> NamedLabels:
    """The images at `places` with their classes."""
    items = LazyImages(images, np.array(places))
    return NamedLabels(items, [paths[i][1 if has_splits else 0] for i in places], [images.names[i] for i in places])
