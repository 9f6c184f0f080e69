"""Data sets in a folder of class folders, optionally within train, val and test."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skipway.data.dataset import Dataset, Split
from skipway.data.decode import SUFFIXES
from skipway.data.formats.name_pattern import pattern_hint
from skipway.data.heif import UNDECODABLE, install_for
from skipway.errors import DataError

SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
NO_CLASS = "(no class)"


@dataclass(frozen=True)
class LayoutFault:
    """A problem with a folder's layout: a category of issues.CATEGORIES, the folder or file, and the message."""

    category: str
    name: str
    why: str


@dataclass(frozen=True)
class Survey:
    """The data set in a folder as far as it can be read, and its problems. It may lack images or classes."""

    dataset: Dataset
    faults: tuple[LayoutFault, ...]


class LayoutError(DataError):
    """A folder that is not a valid data set. The message is the first problem; `survey` has all."""

    def __init__(self, survey: Survey) -> None:
        super().__init__(survey.faults[0].why)
        self.survey = survey


def class_folders(folder: Path) -> list[Path]:
    """The visible folders in `folder`, in name order. Raises DataError without read permission."""

    def leads_to_folder(entry: os.DirEntry[str]) -> bool:  # a system call for links only, not for every image
        return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and Path(entry).is_dir())

    try:
        with os.scandir(folder) as entries:
            return sorted(Path(e) for e in entries if not e.name.startswith(".") and leads_to_folder(e))
    except PermissionError as error:
        raise DataError(f"no permission to read {error.filename}: change its permissions or move it") from None


def split_folders(root: Path) -> dict[str, Path]:
    """The existing folders of train, val and test in `root`."""
    subfolders = {p.name.lower(): p for p in class_folders(root)}
    found = {key: next((subfolders[n] for n in names if n in subfolders), None) for key, names in SPLITS.items()}
    return {key: folder for key, folder in found.items() if folder}


def images_below(folder: Path) -> list[Path]:
    """All image files in `folder` and below, in name order. Raises DataError for an unreadable folder."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read ({error.strerror}): change its permissions or move it")

    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders.sort()
        found += [Path(parent, f) for f in files if Path(f).suffix.lower() in SUFFIXES and not f.startswith(".")]
    return sorted(found)


def links_to_parent(folder: Path, root: Path) -> bool:
    """Whether `folder` is a link to `root` or a folder above it, through which everything would be found again."""
    return folder.is_symlink() and root.resolve().is_relative_to(folder.resolve())


def read_split(root: Path, folder: Path, classes: tuple[str, ...]) -> Split:
    """The images of `folder`'s class folders, labelled by their index in `classes`; names are relative to `root`."""
    items: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        inside = folder / name
        found = images_below(inside) if inside.is_dir() and not links_to_parent(inside, root) else []
        items += found
        labels += [label] * len(found)
    return Split(items, np.array(labels, dtype=np.int64), [p.relative_to(root).as_posix() for p in items])


def layout_faults(folder: Path, beside: list[Path]) -> Iterator[LayoutFault]:
    """Images in `folder` itself, or in the folders `beside` the splits, which belong to no class."""
    loose = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES and p.is_file()]
    strays = [p for p in beside if images_below(p)]
    if loose and not class_folders(folder):
        how = f"put the images of each class into a folder, {pattern_hint(p.name for p in loose)}"
        why = f"{folder} has {len(loose)} images but no class folders: {how}"
        yield LayoutFault("layout", str(folder), why)
    elif loose or strays:
        found = (loose or strays)[0].name
        why = f"{folder} has images outside its class folders or splits, such as '{found}': move them"
        yield LayoutFault("layout", str(folder), why)


def missing_decoder_hint(*folders: Path) -> str:
    """A note on images in `folders` whose decoder is not installed; empty if there are none."""
    found = [file.suffix.lower() for folder in folders for file in folder.rglob("*")]
    found = [suffix for suffix in found if suffix in UNDECODABLE]
    return f"; {len(found):,} files there need a decoder: {install_for(found)}" if found else ""


def train_faults(folder: Path, root: Path, classes: tuple[str, ...], train: Split) -> Iterator[LayoutFault]:
    """Problems of the training folder: no class, no image, classes without images, and links to a parent folder."""
    if not classes:
        loose = images_below(folder)
        what = f"{len(loose)} images but no class folders" if loose else "no class folders of images"
        why = f"{folder} has {what}: put the images of each class into a folder"
        yield LayoutFault("layout", str(folder), why)
        return
    for name in classes:
        if links_to_parent(folder / name, root):
            why = f"{folder / name} links to a folder that contains it: remove the link"
            yield LayoutFault("link loop", str(folder / name), why)
    if not len(train):
        endings = ", ".join(sorted(SUFFIXES))
        hint = missing_decoder_hint(folder)
        why = f"{folder} has no images in its {len(classes)} folders: supported suffixes are {endings}{hint}"
        yield LayoutFault("layout", str(folder), why)
        return
    counts = train.counts(len(classes))
    empty = [n for n, count in zip(classes, counts, strict=True) if not count and not links_to_parent(folder / n, root)]
    if empty:
        lacking = missing_decoder_hint(*(folder / name for name in empty))
        why = f"{folder} has class folders without images: {', '.join(empty[:5])}; remove or fill them{lacking}"
        yield LayoutFault("empty class", ", ".join(empty), why)


def survey(root: Path) -> Survey:
    """The data set in `root` and all layout problems. Classes are the folders' names in order.

    Class folders that are not in train are included, as classes after those of train; if there are no class folders at
    all, all images are in the class NO_CLASS.
    """
    splits = split_folders(root)
    faults: list[LayoutFault] = []
    if splits and "train" not in splits:
        why = f"{root} has {', '.join(splits)} but no train folder: add one"
        faults.append(LayoutFault("layout", str(root), why))
        splits = {}
    for folder in splits.values() or (root,):
        faults += layout_faults(folder, [])
    if splits:
        faults += layout_faults(root, [p for p in class_folders(root) if p not in splits.values()])
    train_root = splits.get("train", root)
    classes = tuple(p.name for p in class_folders(train_root))
    train = read_split(root, train_root, classes)
    if str(train_root) not in {fault.name for fault in faults}:
        faults += train_faults(train_root, root, classes, train)
    if not classes:
        classes, loose = (NO_CLASS,), images_below(train_root)
        train = Split(loose, np.zeros(len(loose), np.int64), [p.relative_to(root).as_posix() for p in loose])
    others: dict[str, Split] = {}
    for key in ("val", "test"):
        if key in splits:
            unknown = [p.name for p in class_folders(splits[key]) if p.name not in classes]
            classes = (*classes, *unknown)
            others[key] = read_split(root, splits[key], classes)
            faults += split_faults(splits[key], unknown, len(others[key]))
    return Survey(Dataset(str(root), classes, train, others.get("val"), others.get("test")), tuple(faults))


def split_faults(folder: Path, unknown: list[str], images: int) -> Iterator[LayoutFault]:
    """Problems of the folder of val or test: classes that are not in train, and no images."""
    if unknown:
        why = f"{folder} has class folders that are not in train: {', '.join(unknown[:5])}"
        yield LayoutFault("unknown class", ", ".join(unknown), why)
    if not images:
        yield LayoutFault("empty split", str(folder), f"{folder} has no images: add some or remove it")


def open_folder(root: Path) -> Dataset:
    """The data set in `root`. Classes are the folders' names in order.

    Raises LayoutError for a folder without images, a class without images, or splits whose classes differ.
    """
    result = survey(root)
    if result.faults:
        raise LayoutError(result)
    return result.dataset
