"""The images that files, folders, patterns and standard input name, one at a time: a million are never listed at once.

A folder is read in the order of its names, or in the file system's where it holds more than SORTED entries.
"""

import fnmatch
import os
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from skipway.data.decode import SUFFIXES
from skipway.data.heif import UNDECODABLE
from skipway.errors import DataError, SkipwayError

SORTED = 10_000  # entries of one folder that are held at once at most
STANDARD_INPUT = "-"


def entries(folder: Path) -> Iterator["os.DirEntry[str]"]:
    """What is in a folder, without hidden names. Raises DataError for a folder that cannot be read."""
    try:
        with os.scandir(folder) as found:
            first = list(islice(found, SORTED + 1))
            if len(first) <= SORTED:
                first.sort(key=lambda entry: entry.name)
            for entry in chain(first, found):
                if not entry.name.startswith("."):
                    yield entry
    except OSError as fault:
        raise DataError(f"{folder} cannot be read ({fault.strerror}): check it") from None


def below(folder: Path) -> Iterator[Path]:
    """Every image file in `folder` and below it; links to folders are not followed, so that none is met twice."""
    for entry in entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from below(Path(entry.path))
        elif Path(entry.name).suffix.lower() in SUFFIXES | UNDECODABLE:
            yield Path(entry.path)


def matching(folder: Path, parts: Sequence[str]) -> Iterator[Path]:
    """What a pattern's `parts` match from `folder` on: files as they are, folders as the images below them."""
    if not parts:
        yield from below(folder) if folder.is_dir() else [folder]
        return
    part, rest = parts[0], parts[1:]
    if part == "**":
        yield from matching(folder, rest)
        for entry in entries(folder):
            if entry.is_dir(follow_symlinks=False):
                yield from matching(Path(entry.path), parts)
    elif not is_pattern(part):
        if (folder / part).exists():
            yield from matching(folder / part, rest)
    else:
        for entry in entries(folder):
            if fnmatch.fnmatchcase(entry.name, part) and (entry.is_dir() or not rest):
                yield from matching(Path(entry.path), rest)


def is_pattern(text: str) -> bool:
    return any(c in text for c in "*?[")


def named_by(text: str) -> Iterator[Path]:
    """The images of one argument: standard input's lines, a folder's, a pattern's, or the file itself."""
    path = Path(text)
    if text == STANDARD_INPUT:
        yield from (Path(line) for line in map(str.strip, sys.stdin) if line)
    elif path.is_dir():
        yield from below(path)
    elif is_pattern(text) and not path.exists():
        parts = path.parts[1:] if path.anchor else path.parts
        yield from matching(Path(path.anchor), [p for i, p in enumerate(parts) if parts[i : i + 2] != ("**", "**")])
    else:
        yield path


def images_of(texts: Sequence[str]) -> Iterator[Path]:
    """The images of every argument in turn. Raises DataError, before the first is given, for one that names none."""
    found: list[Iterator[Path]] = []
    for text in texts:
        images = named_by(text)
        if text == STANDARD_INPUT:
            found.append(images)
            continue
        first = next(images, None)
        if first is None:
            raise DataError(f"{text} has no image: give files, folders, patterns or -")
        found.append(chain([first], images))
    return chain.from_iterable(found)


@dataclass(frozen=True)
class Shard:
    """One of several processes that share a list: its number from 0, and how many there are."""

    rank: int = 0
    world: int = 1

    def own(self, paths: Iterable[Path]) -> Iterator[Path]:
        """Those that fall to this process. By its path alone, so that they need not agree on an order."""
        return (p for p in paths if zlib.crc32(os.fsencode(p)) % self.world == self.rank)

    def part(self, file: Path) -> Path:
        """Where this process writes what belongs in `file`: out.part-0-of-2.csv for out.csv."""
        return file if self.world == 1 else file.with_name(f"{file.stem}.part-{self.rank}-of-{self.world}{file.suffix}")


def shard_of_this_process() -> Shard:
    """As torchrun says in RANK and WORLD_SIZE; all of it without torchrun. Raises SkipwayError for nonsense there."""
    rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdigit() and world.isdigit() and int(rank) < int(world)):
        raise SkipwayError(f"RANK={rank} and WORLD_SIZE={world} name no process: use torchrun, or unset them")
    return Shard(int(rank), int(world))
