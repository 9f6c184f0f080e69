"""Whole training epochs on CIFAR against a plain loop that a careful person writes. results/cifar_loop.json

    python -m benchmarks.cifar_loop PLAIN_LOOP.py DATA [--rounds 5] [--images 12800]

PLAIN_LOOP.py prints "epoch loss accuracy seconds rate" for each epoch; rates are compared from the second epoch on,
with loading and testing left out on both sides. The two take turns as processes of their own.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks.harness import save
from skipway.data import open_source
from skipway.data.source import Source
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
recipe = dataclasses.replace(FAST_CIFAR, epochs=2, val=0.0)
train(source, recipe, Path(sys.argv[3]), hardware.decide(), Console(quiet=True))
"""


def first_images(data: str, count: int) -> Source:
    """The first `count` training images of `data`."""
    source = open_source(data)
    indices = range(count)
    import numpy as np

    return replace(source, train=source.train.take(np.array(indices)))


def ours(data: str, images: int) -> float:
    """Images per second of our second epoch."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", OURS, data, str(images), f"{folder}/run"], check=True)
        lines = Path(folder, "run", "metrics.jsonl").read_text().splitlines()
    return json.loads(lines[1])["images_per_second"]


def theirs(script: str, images: int) -> float:
    """Images per second of the plain loop's second epoch."""
    command = [sys.executable, script, "--epochs", "2", "--batch", str(FAST_CIFAR.batch), "--limit", str(images)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    ends = [float(line.split()[3]) for line in lines[:2]]
    return images // FAST_CIFAR.batch * FAST_CIFAR.batch / (ends[1] - ends[0])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("script")
    parser.add_argument("data")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=12_800)
    given = parser.parse_args()
    rates: dict[str, list[float]] = {"skipway": [], "plain loop": []}
    for _ in range(given.rounds):
        rates["skipway"].append(round(ours(given.data, given.images), 1))
        rates["plain loop"].append(round(theirs(given.script, given.images), 1))
        print(rates, flush=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    save(
        "cifar_loop",
        {
            "what": "training images per second of resnet20 at batch 256, medians of alternating processes",
            "rounds": given.rounds,
            "images_an_epoch": given.images,
            "median": medians,
            "all": rates,
            "ratio": round(medians["skipway"] / medians["plain loop"], 3),
        },
    )


if __name__ == "__main__":
    main()
