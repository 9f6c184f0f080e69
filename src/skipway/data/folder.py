"""A folder of class folders, with or without train, val and test above them."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from skipway.data.decode import SUFFIXES
from skipway.data.source import Source, Split
from skipway.errors import DataError

SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


def class_folders(folder: Path) -> list[Path]:
    """The visible folders in `folder`, in name order."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def images_below(folder: Path) -> list[Path]:
    """Every image file in `folder` and below it, in name order."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders.sort()
        found += [Path(parent, f) for f in files if Path(f).suffix.lower() in SUFFIXES and not f.startswith(".")]
    return sorted(found)


def read_split(root: Path, folder: Path, classes: tuple[str, ...]) -> Split:
    """The images of `folder`'s class folders, labelled by their place in `classes`; names are relative to `root`."""
    unknown = [p.name for p in class_folders(folder) if p.name not in classes]
    if unknown:
        raise DataError(f"{folder} has class folders that train lacks: {', '.join(unknown[:5])}")
    items: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = images_below(folder / name)
        items += found
        labels += [label] * len(found)
    return Split(items, np.array(labels, dtype=np.int64), [p.relative_to(root).as_posix() for p in items])


def require_tidy(folder: Path, beside: Sequence[Path] = ()) -> None:
    """Raises DataError when images lie in `folder` itself or in folders `beside` the splits, where none sees them."""
    loose = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES and p.is_file()]
    strays = [p for p in beside if images_below(p)]
    if loose and not class_folders(folder):
        raise DataError(f"{folder} has {len(loose)} images but no class folders: give each class a folder of its own")
    if loose or strays:
        found = (loose or strays)[0].name
        raise DataError(f"{folder} has images outside the class folders or splits, such as '{found}': move them")


def open_folder(root: Path) -> Source:
    """The data set in `root`. Classes are the folders' names in order.

    Raises DataError for a folder without images, a class without images, or splits whose classes disagree.
    """
    subfolders = {p.name.lower(): p for p in class_folders(root)}
    splits = {key: next((subfolders[n] for n in names if n in subfolders), None) for key, names in SPLITS.items()}
    train_root = splits["train"] or root
    if splits["train"] is None and any(splits.values()):
        raise DataError(f"{root} has {', '.join(k for k, v in splits.items() if v)} but no train folder: add one")
    for folder in filter(None, splits.values()) if splits["train"] else (root,):
        require_tidy(folder)
    if splits["train"]:
        require_tidy(root, beside=[p for p in subfolders.values() if p not in splits.values()])
    classes = tuple(p.name for p in class_folders(train_root))
    if not classes:
        loose = images_below(train_root)
        what = f"{len(loose)} images but no class folders" if loose else "no class folders of images"
        raise DataError(f"{train_root} has {what}: put each class's images into a folder of its own")
    train = read_split(root, train_root, classes)
    if not len(train):
        endings = ", ".join(sorted(SUFFIXES))
        raise DataError(f"{train_root} has no image in its {len(classes)} folders: images end in {endings}")
    empty = [name for name, count in zip(classes, train.counts(len(classes)), strict=True) if not count]
    if empty:
        raise DataError(f"{train_root} has class folders without an image: {', '.join(empty[:5])}; remove or fill them")
    others = {key: read_split(root, splits[key], classes) for key in ("val", "test") if splits[key]}  # type: ignore[arg-type]
    for key, split in others.items():
        if not len(split):
            raise DataError(f"{splits[key]} has no image: fill or remove it")
    return Source(str(root), classes, train, others.get("val"), others.get("test"))
