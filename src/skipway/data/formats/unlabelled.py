"""Images without classes in a folder, optionally within train, val and test."""

from pathlib import Path

import numpy as np

from skipway.data.dataset import Dataset, Split
from skipway.data.formats.folder import class_folders, images_below, missing_decoder_hint, split_folders
from skipway.data.image_targets import GenerationTargets
from skipway.errors import DataError


def is_unlabelled(root: Path) -> bool:
    """Whether the training images in `root` lie in no class folder; also of an empty folder."""
    train = split_folders(root).get("train", root)
    return not class_folders(train) and (bool(images_below(train)) or not any(train.iterdir()))


def open_unlabelled(root: Path) -> Dataset:
    """The images of a folder, without classes. Raises DataError for a folder of a split without images."""
    folders = split_folders(root) if "train" in split_folders(root) else {"train": root}
    splits = {key: images_of(root, folder) for key, folder in folders.items()}
    return Dataset(str(root), (), splits["train"], splits.get("val"), splits.get("test"))


def images_of(root: Path, folder: Path) -> Split:
    """All images in `folder` and below; names are relative to `root`."""
    items = images_below(folder)
    if not items:
        raise DataError(f"{folder} has no images: add some or remove it{missing_decoder_hint(folder)}")
    names = [path.relative_to(root).as_posix() for path in items]
    return Split(items, GenerationTargets(np.zeros(len(items), dtype=np.int64)), names)
