"""A folder of class folders, with or without train, val and test above them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skipway.data.decode import SUFFIXES
from skipway.data.heif import INSTALL, UNDECODABLE
from skipway.data.name_pattern import advice
from skipway.data.source import Source, Split
from skipway.errors import DataError

SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
NO_CLASS = "(no class)"


@dataclass(frozen=True)
class LayoutFault:
    """What makes a folder no data set: a category of findings.CATEGORIES, the folder or file, and a sentence."""

    category: str
    name: str
    why: str


@dataclass(frozen=True)
class Survey:
    """A folder as far as it is a data set, and all that stands against it. The source may lack images or classes."""

    source: Source
    faults: tuple[LayoutFault, ...]


class LayoutError(DataError):
    """A folder that is no data set. Says the first fault; `survey` has all."""

    def __init__(self, survey: Survey) -> None:
        super().__init__(survey.faults[0].why)
        self.survey = survey


def class_folders(folder: Path) -> list[Path]:
    """The visible folders in `folder`, in name order. Raises DataError when it may not be read."""

    def leads_to_folder(entry: os.DirEntry[str]) -> bool:  # asks the system about links alone, not about every image
        return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and Path(entry).is_dir())

    try:
        with os.scandir(folder) as entries:
            return sorted(Path(e) for e in entries if not e.name.startswith(".") and leads_to_folder(e))
    except PermissionError as fault:
        raise DataError(f"{fault.filename} may not be read: allow it, or move it") from None


def split_folders(root: Path) -> dict[str, Path]:
    """The folders in `root` that hold train, val and test, as far as there are any."""
    subfolders = {p.name.lower(): p for p in class_folders(root)}
    found = {key: next((subfolders[n] for n in names if n in subfolders), None) for key, names in SPLITS.items()}
    return {key: folder for key, folder in found.items() if folder}


def images_below(folder: Path) -> list[Path]:
    """Every image file in `folder` and below it, in name order. Raises DataError for a folder that may not be read."""

    def refuse(fault: OSError) -> None:
        raise DataError(f"{fault.filename} may not be read ({fault.strerror}): allow it, or move it")

    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders.sort()
        found += [Path(parent, f) for f in files if Path(f).suffix.lower() in SUFFIXES and not f.startswith(".")]
    return sorted(found)


def leads_back(folder: Path, root: Path) -> bool:
    """Whether `folder` is a link to a folder that holds `root`, or is it: everything would be found in it again."""
    return folder.is_symlink() and root.resolve().is_relative_to(folder.resolve())


def read_split(root: Path, folder: Path, classes: tuple[str, ...]) -> Split:
    """The images of `folder`'s class folders, labelled by their place in `classes`; names are relative to `root`."""
    items: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        inside = folder / name
        found = images_below(inside) if inside.is_dir() and not leads_back(inside, root) else []
        items += found
        labels += [label] * len(found)
    return Split(items, np.array(labels, dtype=np.int64), [p.relative_to(root).as_posix() for p in items])


def layout_faults(folder: Path, beside: list[Path]) -> Iterator[LayoutFault]:
    """Images in `folder` itself, or in folders `beside` the splits, where no class sees them."""
    loose = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES and p.is_file()]
    strays = [p for p in beside if images_below(p)]
    if loose and not class_folders(folder):
        how = f"give each class a folder of its own, {advice(p.name for p in loose)}"
        why = f"{folder} has {len(loose)} images but no class folders: {how}"
        yield LayoutFault("layout", str(folder), why)
    elif loose or strays:
        found = (loose or strays)[0].name
        why = f"{folder} has images outside the class folders or splits, such as '{found}': move them"
        yield LayoutFault("layout", str(folder), why)


def without_decoder(*folders: Path) -> str:
    """What to say of images in `folders` whose decoder is not installed; empty where there are none."""
    count = sum(file.suffix.lower() in UNDECODABLE for folder in folders for file in folder.rglob("*"))
    return f"; {count:,} files there need a decoder: {INSTALL}" if count else ""


def train_faults(folder: Path, root: Path, classes: tuple[str, ...], train: Split) -> Iterator[LayoutFault]:
    """No class, no image, classes without an image, and links that lead back, in the training folder."""
    if not classes:
        loose = images_below(folder)
        what = f"{len(loose)} images but no class folders" if loose else "no class folders of images"
        why = f"{folder} has {what}: put each class's images into a folder of its own"
        yield LayoutFault("layout", str(folder), why)
        return
    for name in classes:
        if leads_back(folder / name, root):
            why = f"{folder / name} links to a folder that holds it: remove the link"
            yield LayoutFault("link loop", str(folder / name), why)
    if not len(train):
        endings = ", ".join(sorted(SUFFIXES))
        why = f"{folder} has no image in its {len(classes)} folders: images end in {endings}{without_decoder(folder)}"
        yield LayoutFault("layout", str(folder), why)
        return
    counts = train.counts(len(classes))
    empty = [n for n, count in zip(classes, counts, strict=True) if not count and not leads_back(folder / n, root)]
    if empty:
        lacking = without_decoder(*(folder / name for name in empty))
        why = f"{folder} has class folders without an image: {', '.join(empty[:5])}; remove or fill them{lacking}"
        yield LayoutFault("empty class", ", ".join(empty), why)


def survey(root: Path) -> Survey:
    """The data set in `root` and everything that training would refuse in it. Classes are the folders' names in order.

    Images in class folders that train lacks are there too, under classes of their own behind train's; where there is no
    class folder at all, all images are, under NO_CLASS.
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
    return Survey(Source(str(root), classes, train, others.get("val"), others.get("test")), tuple(faults))


def split_faults(folder: Path, unknown: list[str], images: int) -> Iterator[LayoutFault]:
    """Classes that train lacks, and no image at all, in the folder of val or test."""
    if unknown:
        why = f"{folder} has class folders that train lacks: {', '.join(unknown[:5])}"
        yield LayoutFault("unknown class", ", ".join(unknown), why)
    if not images:
        yield LayoutFault("empty split", str(folder), f"{folder} has no image: fill or remove it")


def open_folder(root: Path) -> Source:
    """The data set in `root`. Classes are the folders' names in order.

    Raises LayoutError for a folder without images, a class without images, or splits whose classes disagree.
    """
    found = survey(root)
    if found.faults:
        raise LayoutError(found)
    return found.source
