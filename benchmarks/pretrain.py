"""The embedded weights: resnet18d_x0_5 trained on 180 classes of Tiny ImageNet, and packed into the package.

    python -m benchmarks.pretrain DATA RUN        train (or go on with RUN where it was interrupted)
    python -m benchmarks.pretrain DATA RUN --pack write src/skipway/models/embedded/ from the finished RUN

DATA is Tiny ImageNet in the hub's parquet layout. Every tenth class is kept out, so that transfer can be measured on
classes that the weights have not seen (benchmarks/transfer.py). No test image is read: val is a twentieth of train.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from skipway import api
from skipway.data import open_source
from skipway.data.source import Source, Split
from skipway.training.recipes import Recipe
from skipway.training.upkeep import Upkeep

KEPT_OUT = slice(5, None, 10)  # of the classes in the order of their labels: 20 of 200

PRETRAIN = Recipe(
    name="pretrain",
    model="resnet18d_x0_5",
    size=96,
    epochs=32,
    batch=256,
    optimiser="muon",
    muon_rate=0.25,
    lr=0.2,
    lr_batch=128,
    nesterov=True,
    weight_decay=5e-4,
    schedule="linear",
    warmup=0.1,
    label_smoothing=0.1,
    crop="resized",
    small=64,
    small_epochs=10,
    average=0.999,
    val=0.05,
)
"""Images of 64 pixels are enlarged to 96, because an object then covers as many pixels as in a photograph of that
size, and crops of 64 pixels begin because they cost less than half. Rates as in `fast-cifar`; chosen without a search.
"""


def of_classes(source: Source, chosen: np.ndarray) -> Source:
    """The training images of `chosen` classes, numbered anew."""
    number = np.full(len(source.classes), -1)
    number[chosen] = np.arange(len(chosen))
    kept = np.flatnonzero(number[source.train.labels] >= 0)
    train = source.train.take(kept)
    split = Split(train.items, number[train.labels], train.names)
    return Source(source.name, tuple(source.classes[i] for i in chosen), split)


def pretraining_classes(source: Source) -> np.ndarray:
    """The 180 classes that the weights see."""
    every = np.arange(len(source.classes))
    return np.setdiff1d(every, every[KEPT_OUT])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("run", type=Path)
    given = parser.parse_args()
    source = open_source(given.data)
    source = of_classes(source, pretraining_classes(source))
    began = (given.run / "run.json").is_file()
    upkeep = Upkeep(checkpoint_seconds=300.0)
    api.train(source, replace(PRETRAIN), given.run, console=Console(width=160), resume=began, bad=None, upkeep=upkeep)


if __name__ == "__main__":
    main()
