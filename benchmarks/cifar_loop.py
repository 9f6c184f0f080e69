"""The whole of `fast-cifar` against a plain loop that a careful person writes. results/cifar_loop.json

    python -m benchmarks.cifar_loop PLAIN_LOOP.py DATA [--rounds 5] [--images 6400]

PLAIN_LOOP.py prints "epoch loss accuracy seconds rate" for each epoch. Both train resnet20 for the recipe's epochs on
the first `--images` images, taking turns as processes of their own; loading and testing are left out on both sides.
Two ratios of images a second: of the whole run, and of its epochs on crops of the full size alone, where both put
equally many pixels through the same network.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.harness import save
from skipway.data import open_dataset
from skipway.data.dataset import Dataset
from skipway.training.recipes import FAST_CIFAR

OURS = """
import sys, dataclasses
from pathlib import Path
from benchmarks.cifar_loop import first_images
from skipway import hardware
from skipway.training.loop import train
from skipway.training.recipes import FAST_CIFAR
from rich.console import Console
source = first_images(sys.argv[1], int(sys.argv[2]))
recipe = dataclasses.replace(FAST_CIFAR, val=0.0)
train(source, recipe, Path(sys.argv[3]), hardware.decide(), Console(quiet=True))
"""


def first_images(data: str, count: int) -> Dataset:
    """The first `count` training images of `data`."""
    dataset = open_dataset(data)
    return replace(dataset, train=dataset.train.take(np.arange(count)))


def ours(data: str, images: int) -> list[float]:
    """Seconds of training in each of our epochs."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", OURS, data, str(images), f"{folder}/run"], check=True)
        lines = Path(folder, "run", "metrics.jsonl").read_text().splitlines()
    return [images_an_epoch(images) / json.loads(line)["images_per_second"] for line in lines]


def theirs(script: str, images: int) -> list[float]:
    """Seconds of training in each of the plain loop's epochs."""
    epochs, batch = str(FAST_CIFAR.epochs), str(FAST_CIFAR.batch)
    command = [sys.executable, script, "--epochs", epochs, "--batch", batch, "--limit", str(images)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    ends = [0.0, *(float(line.split()[3]) for line in lines)]
    return [after - before for before, after in pairwise(ends)]


def images_an_epoch(images: int) -> int:
    """Images in whole batches."""
    return images // FAST_CIFAR.batch * FAST_CIFAR.batch


def rates(seconds: list[float], images: int) -> dict[str, float]:
    """Images a second over the whole run, and over its epochs on full-sized crops."""
    whole, full = seconds, seconds[FAST_CIFAR.small_epochs :]
    return {
        "whole run": round(len(whole) * images_an_epoch(images) / sum(whole), 1),
        "full-sized epochs": round(len(full) * images_an_epoch(images) / sum(full), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("script")
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=6_400)
    given = parser.parse_args()
    turns: list[dict[str, dict[str, float]]] = []
    for _ in range(given.rounds):
        turns.append(
            {
                "skipway": rates(ours(given.data, given.images), given.images),
                "plain loop": rates(theirs(given.script, given.images), given.images),
            }
        )
        print(turns[-1], flush=True)
    medians = {
        side: {what: statistics.median(turn[side][what] for turn in turns) for what in turns[0][side]}
        for side in turns[0]
    }
    ratios = [
        {what: round(rate / turn["plain loop"][what], 3) for what, rate in turn["skipway"].items()} for turn in turns
    ]
    save(
        "cifar_loop",
        {
            "what": "training images per second of resnet20 at batch 256, medians of alternating processes",
            "rounds": given.rounds,
            "images_an_epoch": given.images,
            "epochs": FAST_CIFAR.epochs,
            "small": f"our first {FAST_CIFAR.small_epochs} epochs on crops of {FAST_CIFAR.small} pixels",
            "median": medians,
            "turns": turns,
            # turn by turn, because the machine's own speed drifts more between turns than within one
            "ratios": ratios,
            "ratio": {what: statistics.median(ratio[what] for ratio in ratios) for what in ratios[0]},
        },
    )


if __name__ == "__main__":
    main()
