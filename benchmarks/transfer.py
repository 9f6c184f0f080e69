"""What to expect from how many images: from scratch, a head on frozen features, fine-tuned. results/transfer.json

    python -m benchmarks.transfer TINY BCCD CIFAR [--jobs 2]

TINY is Tiny ImageNet in parquet (of whose classes the embedded weights have not seen those of `pretrain.KEPT_OUT`),
BCCD the blood cells in Pascal VOC form, cut out of their photographs, CIFAR a copy of CIFAR-10 in parquet. Each way is
what `skipway train` does by default, with `--recipe head`, and with `--from-scratch`, with the weights in the package.
Test images are read once, at the end of each training. A training that is in `build/transfer` already is not repeated.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from benchmarks.harness import mean_and_deviation, save
from benchmarks.pretrain import KEPT_OUT, of_classes
from skipway.data import open_dataset
from skipway.data.dataset import Dataset, Split
from skipway.hardware import decide
from skipway.study.engine.error_rates import errors
from skipway.trained import TrainedModel
from skipway.training import autoconfig
from skipway.training.loop import train
from skipway.training.recipes import HEAD, Recipe

COUNTS = (10, 50, 200)  # training images a class
SEEDS = (0, 1, 2)
WAYS = ("scratch", "head", "finetune")
HELD, TESTED = 20, 50  # val and test images a class
MARGIN = 4  # pixels around a cell
DONE = Path("build/transfer")


def pool(name: str, place: str) -> tuple[Dataset, Dataset]:
    """All images of a data set that may be trained on, and those that are tested."""
    if name == "cells":
        return cells(Path(place), "trainval"), cells(Path(place), "test")
    dataset = open_dataset(place)
    if name == "cifar":
        assert dataset.test is not None
        return dataset, replace(dataset, train=dataset.test, test=None)
    dataset = of_classes(dataset, np.arange(len(dataset.classes))[KEPT_OUT])
    last = by_class(dataset.train.labels, np.random.default_rng(0), TESTED)
    return replace(dataset, train=dataset.train.take(others(last, len(dataset.train)))), replace(
        dataset, train=dataset.train.take(last)
    )


def cells(folder: Path, split: str) -> Dataset:
    """Every cell of the photographs of `split`, cut out with a margin, by its kind."""
    items, kinds, names = [], [], []
    for stem in (folder / "ImageSets" / "Main" / f"{split}.txt").read_text().split():
        with Image.open(folder / "JPEGImages" / f"{stem}.jpg") as picture:
            pixels = np.asarray(picture.convert("RGB"))
        for number, entry in enumerate(ET.parse(folder / "Annotations" / f"{stem}.xml").getroot().iter("object")):
            left, top, right, bottom = (
                int(entry.findtext(f"bndbox/{k}") or 0) for k in ("xmin", "ymin", "xmax", "ymax")
            )
            cut = pixels[max(top - MARGIN, 0) : bottom + MARGIN, max(left - MARGIN, 0) : right + MARGIN]
            if min(cut.shape[:2]) > 2 * MARGIN:
                items.append(np.ascontiguousarray(cut))
                kinds.append(entry.findtext("name") or "")
                names.append(f"{stem}[{number}]")
    classes = tuple(sorted(set(kinds)))
    return Dataset("cells", classes, Split(items, np.array([classes.index(kind) for kind in kinds]), names))


def by_class(labels: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """Places of at most `count` images of each class."""
    return np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:count] for c in np.unique(labels)])


def others(places: np.ndarray, count: int) -> np.ndarray:
    return np.setdiff1d(np.arange(count), places)


def drawn(name: str, place: str, count: int, seed: int, classes: int = 0) -> Dataset:
    """`count` training images a class, others as val, and the test images. `classes`: only so many, by `seed`; 0: all.

    Val is never trained on here: it is what recipes were compared by.
    """
    train, test = pool(name, place)
    rng = np.random.default_rng((seed, count))
    if classes:
        chosen = np.sort(rng.permutation(len(train.classes))[:classes])
        train, test = of_classes(train, chosen), of_classes(test, chosen)
    held = by_class(train.train.labels, rng, HELD)
    rest = train.train.take(others(held, len(train.train)))
    picked = rest.take(by_class(rest.labels, rng, count))
    judged = test.train.take(by_class(test.train.labels, np.random.default_rng(0), TESTED))
    return Dataset(name, train.classes, picked, train.train.take(held), judged)


def recipe_for(way: str, dataset: Dataset, seed: int) -> Recipe:
    """What `skipway train` takes offline, with the option that asks for `way`."""
    facts, hardware = autoconfig.facts_of(dataset), decide()
    if way == "head":
        found = autoconfig.with_weights(replace(HEAD, pretrained="embedded"), frozenset(), facts, hardware)
        return replace(found, seed=seed)
    return replace(
        autoconfig.choose(facts, hardware, "scratch" if way == "scratch" else "pretrained").recipe, seed=seed
    )


def measured(name: str, place: str, count: int, seed: int, way: str, threads: int) -> dict[str, Any]:
    """One training and its accuracies in percent; read from DONE where it is there."""
    file = DONE / f"{name}-{count}-{seed}-{way}.json"
    if file.is_file():
        return json.loads(file.read_text())
    torch.set_num_threads(threads)
    dataset = drawn(name, place, count, seed)
    recipe = recipe_for(way, dataset, seed)
    assert dataset.val is not None and dataset.test is not None
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = train(dataset, recipe, Path(folder, "run"), decide(), Console(quiet=True))
        seconds = time.perf_counter() - start
        trained = TrainedModel.load(run)
    record = trained.preprocessing
    found = {"val": dataset.val, "test": dataset.test}
    accuracy = {
        key: round(100 - errors(trained.net, record, split, dataset.classes)[0], 4) for key, split in found.items()
    }
    row = {"images": len(dataset.train), "recipe": recipe.name, "seconds": round(seconds, 1), **accuracy}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(row))
    print(file.stem, row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("tiny", "bccd", "cifar"):
        parser.add_argument(name)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--untimed", nargs="*", choices=WAYS, default=[], help="ways beside which other programs ran")
    given = parser.parse_args()
    places = {"tiny": given.tiny, "cells": given.bccd, "cifar": given.cifar}
    threads = max(torch.get_num_threads() // given.jobs, 1)
    cases = [(n, c, w) for w in reversed(given.ways) for n in places for c in COUNTS]
    wanted = [(n, places[n], c, seed, w, threads) for n, c, w in cases for seed in SEEDS]
    with ProcessPoolExecutor(given.jobs, multiprocessing.get_context("spawn")) as workers:
        found = workers.map(measured, *zip(*wanted, strict=True))
        rows = {(n, c, w, s): row for (n, _, c, s, w, _), row in zip(wanted, found, strict=True)}
    table = [
        {
            "data": name,
            "images_a_class": count,
            "way": way,
            "images": rows[name, count, way, 0]["images"],
            "recipe": rows[name, count, way, 0]["recipe"],
            "test": mean_and_deviation([rows[name, count, way, seed]["test"] for seed in SEEDS]),
            **(
                {}
                if way in given.untimed
                else {"seconds": mean_and_deviation([rows[name, count, way, seed]["seconds"] for seed in SEEDS])}
            ),
        }
        for name, count, way in cases
    ]
    save(
        "transfer",
        {
            "what": "test accuracy in percent by data, training images a class and way, over seeds; weights embedded",
            "data": {
                "tiny": "20 classes of Tiny ImageNet that the weights have not seen, 64 pixels, 50 test images a class",
                "cells": "blood cells cut out of BCCD's photographs, 3 kinds, 50 test images a kind",
                "cifar": "CIFAR-10, re-encoded as JPEG of quality 75, 50 test images a class",
            },
            "seeds": list(SEEDS),
            "side_by_side": given.jobs,
            "untimed": given.untimed,
            "table": table,
        },
    )


if __name__ == "__main__":
    main()
