"""The examination of data against a plain loop that only opens each image. results/check.json

    python -m benchmarks.check ../shared/data/cifar10/train.parquet ../shared/data/photos [--rounds 9] [--images N]

The plain loop is Pillow's open, convert to RGB and load, by a pool of as many processes as there are cores; it has its
images as files, or as bytes in a list that it inherits, so that none is sent. Both begin with nothing started, and take
turns. The examination also hashes, compares and classifies, and reuses no kept result.
"""

import argparse
import io
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from PIL import Image

from benchmarks.harness import alternate, save
from skipway.data.dataset import Dataset
from skipway.data.quality.scan import cores
from skipway.data.quality.validate import check_dataset, open_for_check

ITEMS: list[Path | bytes] = []  # what the processes of the plain loop inherit


def open_some(places: range) -> int:
    """Image for image, as a careful person looks whether all can be opened."""
    for place in places:
        item = ITEMS[place]
        with Image.open(item if isinstance(item, Path) else io.BytesIO(item)) as image:
            image.convert("RGB").load()
    return len(places)


def plain_loop(items: Sequence[Path | bytes], share: int) -> Callable[[], None]:
    def run() -> None:
        ITEMS[:] = items
        parts = [range(i, min(i + share, len(items))) for i in range(0, len(items), share)]
        with multiprocessing.get_context("fork").Pool(cores()) as pool:
            assert sum(pool.imap_unordered(open_some, parts)) == len(items)

    return run


def examination(dataset: Dataset) -> Callable[[], None]:
    def run() -> None:
        assert check_dataset(dataset, reuse=False).images == len(dataset.train)

    return run


def measured(data: str, rounds: int, images: int) -> dict[str, object]:
    """Seconds of both over the training images of `data`, the first `images` of them if given."""
    dataset, _ = open_for_check(data)
    count = min(images, len(dataset.train)) if images else len(dataset.train)
    items, names = [dataset.train.items[i] for i in range(count)], list(dataset.train.names[:count])
    split = replace(dataset.train, items=dataset.train.items[:count], targets=dataset.train.labels[:count], names=names)
    dataset = replace(dataset, train=split, val=None, test=None)
    share = 4 if isinstance(items[0], Path) else 256
    found = alternate({"plain loop": plain_loop(items, share), "skipway check": examination(dataset)}, rounds)
    seconds = {name: one["median_s"] for name, one in found.items()}
    return {
        "images": count,
        "rounds": rounds,
        "seconds": found,
        "images_per_second": {name: round(count / s) for name, s in seconds.items()},
        "ratio": round(seconds["plain loop"] / seconds["skipway check"], 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="+")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--images", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["SKIPWAY_CACHE"] = cache
        cases = {Path(data).name: measured(data, given.rounds, given.images) for data in given.data}
    save(
        "check",
        {
            "what": f"seconds to examine data, and of Pillow's open, convert and load by a pool of {cores()} processes",
            "cases": cases,
        },
    )


if __name__ == "__main__":
    main()
