"""Inspect all images of a data set in parallel, and collect the results in columns."""

import multiprocessing
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

from skipway.data.dataset import Item, Split
from skipway.data.quality.decode_errors import Why
from skipway.data.quality.duplicates import GRID, fine_copies, has_detail, thumbnails
from skipway.data.quality.inspect import ImageInfo, Kind, inspect_image
from skipway.errors import DataError
from skipway.hardware import available_cores

CHUNK = 256  # images per job; fewer for files, which are larger
FILE_CHUNK = 8


@dataclass(frozen=True)
class ScanResult:
    """Results by image. kinds: None if the header cannot be read; sides: int32 (n, 2), width and height, upright;
    faults, remarks: by index, of unreadable and of readable images; thumbs: uint8 (n, 9, 9), of readable images;
    detailed: bool (n,), whether the thumbnail has enough detail to identify the image; digests: empty for files whose
    size is unique; greys: digests of the grey copies, empty for images that are uniform or unreadable.
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
class ScanJob:
    """The splits to scan, the number of channels, and the number of files of each size."""

    splits: Mapping[str, Split]
    channels: int
    sizes: Counter[int]

    def part(self, key: str, start: int) -> ScanResult:
        """Scan a chunk of images of a split, from `start` on."""
        split = self.splits[key]
        infos, digests = [], []
        for index in range(start, min(start + chunk_size(split), len(split))):
            info, digest = self.one(split, index)
            infos.append(info)
            digests.append(digest)
        copies = fine_copies([info.grey for info in infos])
        return ScanResult(
            kinds=[info.kind for info in infos],
            sides=np.array([(info.width, info.height) for info in infos], np.int32),
            faults={i: info.fault for i, info in enumerate(infos) if info.fault},
            remarks={i: info.remark for i, info in enumerate(infos) if info.remark},
            thumbs=thumbnails(copies),
            detailed=has_detail(copies),
            digests=digests,
            greys=[digest_of_grey(info.grey) for info in infos],
        )

    def one(self, split: Split, index: int) -> tuple[ImageInfo, bytes]:
        try:
            item = split.items[index]
        except DataError as error:  # from a shard
            return ImageInfo(fault=("unreadable", str(error))), b""
        return inspect_image(item, self.channels, split.names[index]), digest_of(item, self.sizes)


def holds_files(split: Split) -> bool:
    """Whether the items are files; by the first, because all items of a data set have the same type."""
    return len(split) > 0 and isinstance(split.items[0], Path)


def chunk_size(split: Split) -> int:
    return FILE_CHUNK if holds_files(split) else CHUNK


def digest_of(item: Item, sizes: Counter[int]) -> bytes:
    """A digest of the item's bytes; empty for a file whose size is unique, or that cannot be read."""
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
    """A digest of a grey copy's size and values; empty if there is none, or if it is uniform: images of different
    single colours may have the same luma."""
    if grey is None or grey.min() == grey.max():
        return b""
    return blake2b(repr(grey.shape).encode() + grey.tobytes(), digest_size=16).digest()


INHERITED: list[ScanJob] = []  # in a forked process, the job, so that no image has to be sent


def inherited_part(key: str, start: int) -> ScanResult:
    return INHERITED[0].part(key, start)


def scan_images(job: ScanJob, console: Console) -> ScanResult:
    """Scan all images of the job's splits, one split after the other; `console` shows the progress if it is a terminal.

    Files are scanned by threads: the decoders release the GIL, and threads start at once. Images in memory are often
    small, and Python takes as long as the decoder: they are scanned by processes, if these can be forked.
    """
    parts = [(key, start) for key, split in job.splits.items() for start in range(0, len(split), chunk_size(split))]
    total = sum(map(len, job.splits.values()))
    forks = (
        sys.platform == "linux"
        and not multiprocessing.current_process().daemon  # which may have no children
        and not any(map(holds_files, job.splits.values()))
    )
    with warnings.catch_warnings():  # for the total process, because threads share the filters
        warnings.simplefilter("ignore")  # Pillow's warnings about damaged tags, and Python's about forking with threads
        pool: Executor
        if forks:
            pool = ProcessPoolExecutor(available_cores(), multiprocessing.get_context("fork"), INHERITED.append, (job,))
        else:
            pool = ThreadPoolExecutor(available_cores())
        with pool:
            # all processes are forked here, before the progress bar starts its thread
            scan_part = inherited_part if forks else job.part
            results = pool.map(scan_part, [key for key, _ in parts], [start for _, start in parts])
            with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
                bar = progress.add_task("checking", total=total)
                return concatenate(with_progress(results, lambda part: progress.advance(bar, len(part.kinds))))


def with_progress(parts: Iterator[ScanResult], advance: Callable[[ScanResult], None]) -> Iterator[ScanResult]:
    for part in parts:
        advance(part)
        yield part


def concatenate(parts: Iterator[ScanResult]) -> ScanResult:
    """Concatenate the results of all parts."""
    total = ScanResult(
        [], np.empty((0, 2), np.int32), {}, {}, np.empty((0, GRID, GRID), np.uint8), np.empty(0, bool), [], []
    )
    sides, thumbs, detailed = [total.sides], [total.thumbs], [total.detailed]
    for part in parts:
        before = len(total.kinds)
        total.faults.update({before + i: why for i, why in part.faults.items()})
        total.remarks.update({before + i: why for i, why in part.remarks.items()})
        total.kinds.extend(part.kinds)
        total.digests.extend(part.digests)
        total.greys.extend(part.greys)
        sides.append(part.sides)
        thumbs.append(part.thumbs)
        detailed.append(part.detailed)
    return replace(total, sides=np.concatenate(sides), thumbs=np.concatenate(thumbs), detailed=np.concatenate(detailed))
