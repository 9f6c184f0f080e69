"""All images of a data set looked at: the work shared out, and what came of it in columns."""

import multiprocessing
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from hashlib import blake2b, file_digest
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import Progress

from skipway.data.duplicates import GRID, fine_copies, has_detail, thumbnails
from skipway.data.look import Kind, Look, look
from skipway.data.refusals import Why
from skipway.data.source import Item, Split
from skipway.errors import DataError

PART = 256  # images that are handed out at a time; of files, which are larger, fewer
PART_OF_FILES = 8


@dataclass(frozen=True)
class Seen:
    """What was seen, an image an entry. kinds: None where not even the header can be read; sides: int32 (n, 2), width
    and height, upright; faults, remarks: by place, of images that cannot be read, and of others; thumbs: uint8
    (n, 9, 9), of those that could be read; detailed: bool (n,), which of these show enough to be told from others by
    their thumbs; digests: empty of files that no other has the size of; greys: digests of the grey copies, empty
    of images that are flat or could not be read.
    """

    kinds: list[Kind | None]
    sides: np.ndarray
    faults: dict[int, Why]
    remarks: dict[int, Why]
    thumbs: np.ndarray
    detailed: np.ndarray
    digests: list[bytes]
    greys: list[bytes]


@dataclass(frozen=True)
class Task:
    """The splits to look at, how many channels to open with, and how many files have each size."""

    splits: Mapping[str, Split]
    channels: int
    sizes: Counter[int]

    def part(self, key: str, start: int) -> Seen:
        """The images of a split from `start` on, as many as are handed out at a time."""
        split = self.splits[key]
        places = range(start, min(start + part_of(split), len(split)))
        looks, digests = [], []
        for place in places:
            found, digest = self.one(split, place)
            looks.append(found)
            digests.append(digest)
        copies = fine_copies([one.grey for one in looks])
        return Seen(
            kinds=[one.kind for one in looks],
            sides=np.array([(one.width, one.height) for one in looks], np.int32),
            faults={i: one.fault for i, one in enumerate(looks) if one.fault},
            remarks={i: one.remark for i, one in enumerate(looks) if one.remark},
            thumbs=thumbnails(copies),
            detailed=has_detail(copies),
            digests=digests,
            greys=[digest_of_grey(one.grey) for one in looks],
        )

    def one(self, split: Split, place: int) -> tuple[Look, bytes]:
        try:
            item = split.items[place]
        except DataError as fault:  # of a file that holds many images
            return Look(fault=("unreadable", str(fault))), b""
        return look(item, self.channels, split.names[place]), digest_of(item, self.sizes)


def holds_files(split: Split) -> bool:
    """Whether the items are files; told by the first, because a set has items of one sort."""
    return len(split) > 0 and isinstance(split.items[0], Path)


def part_of(split: Split) -> int:
    return PART_OF_FILES if holds_files(split) else PART


def digest_of(item: Item, sizes: Counter[int]) -> bytes:
    """A digest of the item's bytes; empty for a file that no other has the size of, or that cannot be read."""
    if not isinstance(item, Path):
        content = item.tobytes() if isinstance(item, np.ndarray) else item
        return blake2b(content, digest_size=16).digest()
    try:
        if not item.is_file() or sizes[item.stat().st_size] < 2:
            return b""
        with item.open("rb") as stream:
            return file_digest(stream, lambda: blake2b(digest_size=16)).digest()
    except OSError:
        return b""


def digest_of_grey(grey: np.ndarray | None) -> bytes:
    """A digest of a grey copy's size and values; empty where there is none, or one that is flat: images of one colour
    may have one luma, and not be the same."""
    if grey is None or grey.min() == grey.max():
        return b""
    return blake2b(repr(grey.shape).encode() + grey.tobytes(), digest_size=16).digest()


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


INHERITED: list[Task] = []  # in a forked process, the task, so that no image has to be handed over


def inherited_part(key: str, start: int) -> Seen:
    return INHERITED[0].part(key, start)


def look_at_all(task: Task, console: Console) -> Seen:
    """Every image of the task's splits, one split after the other; `console` shows the progress if it is a terminal.

    Files are looked at by threads: the decoders let go of Python's lock, and threads are there at once. Images in
    memory are often small, and take Python as long as they take the decoder: by processes, where these can be forked.
    """
    parts = [(key, start) for key, split in task.splits.items() for start in range(0, len(split), part_of(split))]
    total = sum(map(len, task.splits.values()))
    forks = (
        sys.platform == "linux"
        and not multiprocessing.current_process().daemon  # which may have no children
        and not any(map(holds_files, task.splits.values()))
    )
    with warnings.catch_warnings():  # for the whole process, because threads share the filters
        warnings.simplefilter("ignore")  # Pillow's remarks on damaged tags, and Python's on forking beside threads
        pool: Executor
        if forks:
            pool = ProcessPoolExecutor(cores(), multiprocessing.get_context("fork"), INHERITED.append, (task,))
        else:
            pool = ThreadPoolExecutor(cores())
        with pool:
            # the processes are all forked here, before the progress bar has a thread of its own
            look_at = inherited_part if forks else task.part
            found = pool.map(look_at, [key for key, _ in parts], [start for _, start in parts])
            with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
                bar = progress.add_task("checking", total=total)
                return joined(told(found, lambda part: progress.advance(bar, len(part.kinds))))


def told(parts: Iterator[Seen], advance: Callable[[Seen], None]) -> Iterator[Seen]:
    for part in parts:
        advance(part)
        yield part


def joined(parts: Iterator[Seen]) -> Seen:
    """Parts one after the other as one."""
    whole = Seen([], np.empty((0, 2), np.int32), {}, {}, np.empty((0, GRID, GRID), np.uint8), np.empty(0, bool), [], [])
    sides, thumbs, detailed = [whole.sides], [whole.thumbs], [whole.detailed]
    for part in parts:
        before = len(whole.kinds)
        whole.faults.update({before + i: why for i, why in part.faults.items()})
        whole.remarks.update({before + i: why for i, why in part.remarks.items()})
        whole.kinds.extend(part.kinds)
        whole.digests.extend(part.digests)
        whole.greys.extend(part.greys)
        sides.append(part.sides)
        thumbs.append(part.thumbs)
        detailed.append(part.detailed)
    return replace(whole, sides=np.concatenate(sides), thumbs=np.concatenate(thumbs), detailed=np.concatenate(detailed))
