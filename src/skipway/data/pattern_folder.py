"""A folder of images whose classes are in their file names, with or without train, val and test above them."""

from pathlib import Path

from skipway.data.decode import SUFFIXES
from skipway.data.findings import printable
from skipway.data.folder import class_folders, images_below, leads_back, split_folders
from skipway.data.labels import Named, to_source
from skipway.data.name_pattern import class_in, compiled
from skipway.data.source import Source
from skipway.errors import DataError


def loose_images(folder: Path) -> list[Path]:
    """The visible images in `folder` itself, in name order."""
    files = (p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    return sorted(p for p in files if p.is_file())


def images_in(folder: Path, root: Path) -> list[Path]:
    """The images in `folder` and its folders, whose names do not count. Raises DataError for what may not be read."""
    inside = [f for f in class_folders(folder) if not leads_back(f, root)]
    return [*loose_images(folder), *(image for f in inside for image in images_below(f))]


def images_by_split(root: Path) -> dict[str, list[Path]]:
    """The images of train, val and test; all are train's where there are no such folders.

    Raises DataError for splits without train, for images beside the splits, and for a split without an image.
    """
    splits = split_folders(root)
    if splits and "train" not in splits:
        raise DataError(f"{root} has {', '.join(splits)} but no train folder: add one")
    if splits:
        beside = [f for f in class_folders(root) if f not in splits.values()]
        strays = [*loose_images(root), *(f for f in beside if images_below(f))]
        if strays:
            raise DataError(f"{root} has images outside its splits, such as '{printable(strays[0].name)}': move them")
    found = {key: images_in(folder, root) for key, folder in (splits or {"train": root}).items()}
    empty = next((key for key, images in found.items() if not images), None)
    if empty:
        endings = ", ".join(sorted(SUFFIXES))
        raise DataError(f"{splits.get(empty, root)} has no image for --label-pattern: images end in {endings}")
    return found


def open_pattern_folder(root: Path, label_pattern: str) -> Source:
    """The data set in `root`, labelled by `label_pattern`; names are relative to `root`.

    Raises DataError for a folder without images and for images whose names give no class, and SkipwayError for a
    pattern that is none.
    """
    pattern = compiled(label_pattern)
    splits = images_by_split(root)
    parts = {
        key: Named(
            images,
            [class_in(image.name, pattern) for image in images],
            [image.relative_to(root).as_posix() for image in images],
        )
        for key, images in splits.items()
    }
    found = [pair for part in parts.values() for pair in zip(part.names, part.values, strict=True)]
    nameless = [name for name, value in found if not value]
    if nameless:
        raise DataError(
            f"{root} has {len(nameless):,} of {len(found):,} images in whose names --label-pattern "
            f"'{printable(label_pattern)}' finds no class, the first: {printable(nameless[0])}; correct the pattern or "
            "move them"
        )
    return to_source(str(root), parts)
