"""Data sets in a folder of images whose file names contain the class (--label-pattern)."""

from pathlib import Path

from skipway.data.dataset import Dataset
from skipway.data.decode import SUFFIXES
from skipway.data.formats.folder import class_folders, images_below, links_to_parent, split_folders
from skipway.data.formats.name_pattern import class_in, compile_pattern
from skipway.data.label_encoding import NamedLabels, to_dataset
from skipway.errors import DataError, printable


def loose_images(folder: Path) -> list[Path]:
    """The visible images in `folder` itself, in name order."""
    files = (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    return sorted(p for p in files if p.is_file())


def images_in(folder: Path, root: Path) -> list[Path]:
    """The images in `folder` and its subfolders. Raises DataError for an unreadable folder."""
    inside = [f for f in class_folders(folder) if not links_to_parent(f, root)]
    return [*loose_images(folder), *(image for f in inside for image in images_below(f))]


def images_by_split(root: Path) -> dict[str, list[Path]]:
    """The images of train, val and test; without such folders all images are in train.

    Raises DataError for splits without train, for images outside the splits, and for a split without images.
    """
    splits = split_folders(root)
    if splits and "train" not in splits:
        raise DataError(f"{root} has {', '.join(splits)} but no train folder: add one")
    if splits:
        others = [f for f in class_folders(root) if f not in splits.values()]
        strays = [*loose_images(root), *(f for f in others if images_below(f))]
        if strays:
            raise DataError(f"{root} has images outside its splits, such as '{printable(strays[0].name)}': move them")
    found = {key: images_in(folder, root) for key, folder in (splits or {"train": root}).items()}
    empty = next((key for key, images in found.items() if not images), None)
    if empty:
        endings = ", ".join(sorted(SUFFIXES))
        raise DataError(
            f"{splits.get(empty, root)} has no images for --label-pattern: supported suffixes are {endings}"
        )
    return found


def open_pattern_folder(root: Path, label_pattern: str) -> Dataset:
    """The data set in `root`, labelled by `label_pattern`; names are relative to `root`.

    Raises DataError for a folder without images and for images whose names do not match, and SkipwayError for an
    invalid pattern.
    """
    pattern = compile_pattern(label_pattern)
    splits = images_by_split(root)
    parts = {
        key: NamedLabels(
            images,
            [class_in(image.name, pattern) for image in images],
            [image.relative_to(root).as_posix() for image in images],
        )
        for key, images in splits.items()
    }
    found = [pair for part in parts.values() for pair in zip(part.names, part.values, strict=True)]
    unmatched = [name for name, value in found if not value]
    if unmatched:
        raise DataError(
            f"--label-pattern '{printable(label_pattern)}' finds no class in the names of {len(unmatched):,} of "
            f"{len(found):,} images in {root}, the first: {printable(unmatched[0])}; correct the pattern or move them"
        )
    return to_dataset(str(root), parts)
