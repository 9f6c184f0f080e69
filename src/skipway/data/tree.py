"""What lies in a folder of class folders besides images, images that nothing here decodes, and names and links that
surprise."""

import os
from pathlib import Path

from skipway.data.decode import SUFFIXES
from skipway.data.findings import Finding, gathered
from skipway.data.folder import split_folders
from skipway.data.heif import UNDECODABLE
from skipway.data.source import Source


def folder_of(source: Source) -> Path | None:
    """The folder of class folders that `source` was read from; None for any other data set."""
    root = Path(source.name)
    in_memory = len(source.train) and not isinstance(source.train.items[0], Path)
    return None if in_memory or not root.is_dir() else root


def undecoded(source: Source) -> list[Finding]:
    """One finding about the files in a folder of class folders whose endings are those of images that nothing installed
    here decodes; none where there is no such file."""
    root = folder_of(source)
    if root is None or not UNDECODABLE:
        return []
    paths = [
        os.path.relpath(Path(parent, file), root)
        for parent, _, files in os.walk(root)
        for file in files
        if Path(file).suffix.lower() in UNDECODABLE and not file.startswith(".")
    ]
    return [gathered("file without decoder", sorted(paths))] if paths else []


def surprises(source: Source) -> list[Finding]:
    """Files that are not read, folders named like images, links that are not followed, names that do not print; none
    for a data set that is no folder of class folders."""
    root = folder_of(source)
    if root is None:
        return []
    held: dict[str, list[str]] = {}
    followed = 2 if split_folders(root) else 1  # levels of folders that are splits and classes, links to which count

    def note(category: str, path: str) -> None:
        held.setdefault(category, []).append(os.path.relpath(path, root))

    def visit(folder: str, depth: int) -> None:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            like_an_image = Path(entry.name).suffix.lower() in SUFFIXES
            linked = entry.is_symlink()
            if not entry.name.isprintable():
                note("odd name", entry.path)
            if entry.name.startswith("."):
                note("hidden file", entry.path)
            elif not Path(entry).is_dir():  # an entry of scandir raises where links lead round in a circle
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
    return [gathered(category, paths) for category, paths in held.items()]
