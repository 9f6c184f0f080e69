"""A few images and one command: `skipway train FOLDER` beside Ultralytics' smallest classifier. results/first_day.json

    python -m benchmarks.first_day TINY BCCD --yolo PATH/TO/yolo [--out FOLDER]

TINY and BCCD as in benchmarks/transfer.py. Three sets of images, of classes that the weights in the package have not
seen, are written out as folders and trained on by what a user types, one after the other, each in a process of its own:
`skipway train FOLDER --offline`, the same with `--from-scratch`, the same with `--budget 1m`, and Ultralytics'
yolo11n-cls from scratch by its own defaults, given the time that `--from-scratch` took (its `time` option), at our size
of 96 pixels, which gives it more epochs than its 224. Figures are those after the last epoch, on images that none of
them trained on. `yolo` is Ultralytics' command, installed in an environment of its own (AGPL-3.0).

Then the recipe that the bare command takes is compared with others (SETTINGS) on validation images that none of them
trains on: how far the best that such a search finds is ahead. Test images are not read for it.
"""

import argparse
import csv
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from benchmarks.harness import save
from benchmarks.transfer import drawn
from skipway.data.dataset import Dataset, Split
from skipway.data.decode import decode
from skipway.hardware import decide
from skipway.study.engine.error_rates import errors
from skipway.trained import TrainedModel
from skipway.training import autoconfig
from skipway.training.loop import train
from skipway.training.recipes import Recipe

CONSOLE = Console(width=160)
SIZE = 96  # pixels
SETTINGS: dict[str, Callable[[Recipe], Recipe]] = {
    "as chosen": lambda recipe: recipe,
    "rate / 3": lambda recipe: replace(recipe, lr=recipe.lr / 3),
    "rate x 3": lambda recipe: replace(recipe, lr=recipe.lr * 3),
    "epochs x 2": lambda recipe: replace(recipe, epochs=2 * recipe.epochs),
    "nothing frozen": lambda recipe: replace(recipe, freeze=0),
    "batch 16": lambda recipe: replace(recipe, batch=16),
    "128 pixels": lambda recipe: replace(recipe, size=128),
    "CutMix": lambda recipe: replace(recipe, cutmix=1.0),
    "norms trained, rate x 3": lambda recipe: replace(recipe, freeze_norm=False, lr=recipe.lr * 3),
}


def write_folder(dataset: Dataset, folder: Path) -> Path:
    """`dataset` as class folders below `train` and `test`, losslessly."""
    splits: dict[str, Split] = {"train": dataset.train}
    if dataset.test is not None:
        splits["test"] = dataset.test
    for key, split in splits.items():
        for place in range(len(split)):
            target = folder / key / dataset.classes[int(split.labels[place])]
            target.mkdir(parents=True, exist_ok=True)
            pixels = decode(split.items[place], 3, split.names[place]).permute(1, 2, 0).numpy()
            Image.fromarray(np.ascontiguousarray(pixels)).save(target / f"{place:05d}.png")
    return folder


def run(command: list[str], where: Path) -> tuple[float, str]:
    """Seconds and output of a command. Raises RuntimeError with its end when it fails."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=where, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - start, done.stdout


def ours(folder: Path, options: list[str], out: Path) -> dict[str, Any]:
    """`skipway train FOLDER` with `options`: test accuracy in percent, seconds, and the time that it told."""
    command = [sys.executable, "-m", "skipway", "train", str(folder), "--out", str(out), *options]
    seconds, text = run(command, folder.parent)
    report = json.loads((out / "report.json").read_text())
    told = next((line for line in text.splitlines() if line.startswith("about ")), "")
    chosen = next((line for line in text.splitlines() if line.startswith("chosen: ")), "")
    return {
        "accuracy": round(100 * report["metrics"]["top1"], 2),
        "seconds": round(seconds, 1),
        "told": told,
        "chosen": chosen.removeprefix("chosen: "),
    }


def theirs(folder: Path, yolo: Path, seconds: float, out: Path) -> dict[str, Any]:
    """yolo11n-cls from scratch for so many seconds: accuracy after its last epoch in percent, and the time it took."""
    command = [str(yolo), "classify", "train", "model=yolo11n-cls.yaml", f"data={folder}", f"imgsz={SIZE}"]
    command += [f"time={seconds / 3600:.5f}", "pretrained=False", f"project={out}", "name=run", "plots=False"]
    took, _ = run(command, folder.parent)
    rows = list(csv.DictReader((out / "run" / "results.csv").open()))
    last = {re.sub(r"\s", "", key): value for key, value in rows[-1].items()}
    return {
        "accuracy": round(100 * float(last["metrics/accuracy_top1"]), 2),
        "seconds": round(took, 1),
        "epochs": len(rows),
        "size": SIZE,
    }


def compared(dataset: Dataset, yolo: Path, folder: Path) -> dict[str, Any]:
    """The trainings on `dataset`."""
    images = write_folder(dataset, folder / "images")
    assert dataset.test is not None
    majority = np.bincount(dataset.test.labels).max() / len(dataset.test)
    found: dict[str, Any] = {
        "images": len(dataset.train),
        "classes": len(dataset.classes),
        "test_images": len(dataset.test),
        "majority": round(100 * float(majority), 2),
    }
    found["skipway train"] = ours(images, ["--offline"], folder / "bare")
    CONSOLE.print(found)
    found["skipway train --from-scratch"] = ours(images, ["--offline", "--from-scratch"], folder / "scratch")
    seconds = found["skipway train --from-scratch"]["seconds"]
    found["skipway train --budget 1m"] = ours(images, ["--offline", "--budget", "1m"], folder / "budget")
    CONSOLE.print(found)
    found[f"yolo11n-cls, {SIZE} pixels"] = theirs(images, yolo, seconds, folder / "yolo")
    CONSOLE.print(found)
    return found


def searched(dataset: Dataset) -> dict[str, float]:
    """Accuracy in percent on val of each of SETTINGS, trained on the training images alone."""
    assert dataset.val is not None
    facts, hardware = autoconfig.facts_of(dataset), decide()
    default = autoconfig.choose(facts, hardware, "pretrained").recipe
    found = {}
    for name, changed in SETTINGS.items():
        with tempfile.TemporaryDirectory() as folder:
            run = train(dataset, changed(default), Path(folder, "run"), hardware, Console(quiet=True))
            trained = TrainedModel.load(run)
        found[name] = round(100 - errors(trained.net, trained.preprocessing, dataset.val, dataset.classes)[0], 2)
        CONSOLE.print(name, found[name])
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("tiny")
    parser.add_argument("bccd")
    parser.add_argument("--yolo", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("build/first_day"))
    given = parser.parse_args()
    out, yolo = given.out.resolve(), given.yolo.resolve()
    sets = {
        "2 classes of 120 images": drawn("tiny", given.tiny, 120, 0, classes=2),
        "20 classes of 50 images": drawn("tiny", given.tiny, 50, 0),
        "3 kinds of cells of 100 images": drawn("cells", given.bccd, 100, 0),
    }
    _, printed = run([str(yolo), "version"], Path.cwd())
    found = {name: compared(dataset, yolo, out / re.sub(r"\W+", "-", name)) for name, dataset in sets.items()}
    for name, dataset in sets.items():
        found[name]["search on val"] = searched(replace(dataset, test=None))
    save(
        "first_day",
        {
            "what": "accuracy in percent after the last epoch on test images, seconds of the whole command; one seed",
            "ultralytics": printed.strip().splitlines()[-1],
            "sets": found,
        },
    )


if __name__ == "__main__":
    main()
