"""Files in a folder of class folders that are not read, and unusual names and links."""

import os
from pathlib import Path

from skipway.data.box_targets import BoxTargets
from skipway.data.dataset import Dataset
from skipway.data.decode import SUFFIXES
from skipway.data.formats.folder import split_folders
from skipway.data.heif import UNDECODABLE
from skipway.data.mask_targets import MaskTargets
from skipway.data.quality.issues import Issue, group_issue


def root_of(dataset: Dataset) -> Path | None:
    """The folder of images that `dataset` was read from; None for any other data set."""
    root = Path(dataset.name)
    in_memory = len(dataset.train) and not isinstance(dataset.train.items[0], Path)
    return None if in_memory or not root.is_dir() else root


def undecoded(dataset: Dataset) -> list[Issue]:
    """An issue for the files in a folder of images whose suffixes are those of images without an installed
    decoder; empty if there are no such files."""
    root = root_of(dataset)
    if root is None or not UNDECODABLE:
        return []
    paths = [
        os.path.relpath(Path(parent, file), root)
        for parent, _, files in os.walk(root)
        for file in files
        if Path(file).suffix.lower() in UNDECODABLE and not file.startswith(".")
    ]
    return [group_issue("file without decoder", sorted(paths))] if paths else []


def surprises(dataset: Dataset) -> list[Issue]:
    """Files that are not read, folders named like images, links that are not followed, and unprintable names; empty
    for a data set that is not a folder of class folders."""
    root = root_of(dataset)
    if root is None or isinstance(
        dataset.train.targets, BoxTargets | MaskTargets
    ):  # files of annotations are no strays
        return []
    paths_by_category: dict[str, list[str]] = {}
    followed = 2 if split_folders(root) else 1  # levels of split and class folders, links to which are followed

    def note(category: str, path: str) -> None:
        paths_by_category.setdefault(category, []).append(os.path.relpath(path, root))

    def visit(folder: str, depth: int) -> None:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            like_an_image = Path(entry.name).suffix.lower() in SUFFIXES
            linked = entry.is_symlink()
            if not entry.name.isprintable():
                note("odd name", entry.path)
            if entry.name.startswith("."):
                note("hidden file", entry.path)
            elif not Path(entry).is_dir():  # an entry of scandir raises for circular links
                if not like_an_image and Path(entry.name).suffix.lower() not in UNDECODABLE:  # see `undecoded`
                    note("ignored file", entry.path)
            elif linked and depth >= followed:
                note("link not followed", entry.path)
            else:
                if like_an_image:
                    note("folder like an image", entry.path)
                if not linked and os.access(entry.path, os.R_OK | os.X_OK):
                    visit(entry.path, depth + 1)

    visit(str(root), 0)
    return [group_issue(category, paths) for category, paths in paths_by_category.items()]
