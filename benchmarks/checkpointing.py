"""What a checkpoint every 100 steps costs: resnet18 at 32 pixels, batch 128. results/checkpointing.json

    python -m benchmarks.checkpointing [--rounds 5] [--steps 100]

Turns of `--steps` training steps, alternating between those in which nothing is written and those in which a checkpoint
(weights, momentum and averaged weights) is begun after the third step and waited for at the end. Copying, checking,
writing, hashing and flushing are all in the second kind's time. Machines drift by more between turns than a checkpoint
costs, so that its time by itself, with nothing beside it, is measured too: over that of the steps, it is the most that
a checkpoint can cost.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from benchmarks.harness import alternate, save
from skipway import hardware
from skipway.data.source import Source, Split
from skipway.hardware import keep_freed_memory
from skipway.training.attending import keep
from skipway.training.distributed import ALONE
from skipway.training.keeping import Keeper, checkpoints
from skipway.training.optimiser import set_training_mode
from skipway.training.prepare import prepare
from skipway.training.recipes import QUICK
from skipway.training.state import Run, State, connect, fresh_state, marks_of
from skipway.training.step import one_step
from skipway.training.upkeep import Upkeep

RECIPE = replace(QUICK, model="resnet18", batch=128, epochs=1000, lr=0.02, val=0.0, flip=True, pad=4)
IMAGES = 1280
ALONE_TURNS = 9


def noise() -> Source:
    """Images whose content does not matter here."""
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    return Source("noise", tuple("abcdefghij"), Split(pixels, np.arange(IMAGES) % 10, [str(i) for i in range(IMAGES)]))


def opened(out: Path) -> tuple[Run, State]:
    """A run before its first step."""
    settings, quiet = hardware.decide(), Console(quiet=True)
    prepared = prepare(noise(), RECIPE, settings, quiet)
    marks = marks_of(prepared.source, prepared, ALONE)
    run = Run(prepared, settings, ALONE, Upkeep(), RECIPE.epochs * IMAGES // RECIPE.batch, marks, out, quiet)
    state = fresh_state(run)
    connect(run, state)
    set_training_mode(state.net, RECIPE, only_classifier=False)
    return run, state


def all_batches(run: Run) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in count():
        yield from run.prepared.batches.epoch(epoch)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--dry", action="store_true", help="print, and write no result")
    given = parser.parse_args()
    if hardware.decide().device.type == "cpu":
        keep_freed_memory()
    with tempfile.TemporaryDirectory() as name:
        run, state = opened(Path(name))
        batches = all_batches(run)

        def steps(keeper: Keeper | None = None) -> None:
            for number in range(given.steps):
                images, targets = next(batches)
                one_step(run, state, run.hardware.place_images(images), targets)
                if keeper and number == 2:
                    keep(run, state, keeper)
            if keeper:
                assert keeper.wait(), "a checkpoint was not written"
            if run.hardware.device.type == "cuda":
                torch.cuda.synchronize()

        def seconds_alone() -> float:
            start = time.perf_counter()
            keep(run, state, keeper)
            assert keeper.wait(), "a checkpoint was not written"
            return time.perf_counter() - start

        with Keeper(run.out, run.console, run.upkeep) as keeper:
            turns = alternate({"none": steps, "one": lambda: steps(keeper)}, given.rounds)
            alone = statistics.median(seconds_alone() for _ in range(ALONE_TURNS))
        size = sum(file.stat().st_size for file in checkpoints(run.out)[0].iterdir())
    measured = {
        "what": f"seconds of {given.steps} steps without and with one checkpoint; resnet18, 32 pixels, batch 128",
        "rounds": given.rounds,
        "seconds": turns,
        "checkpoint_mb": round(size / 1e6, 1),
        "alone_s": round(alone, 3),
        "at_most_percent": round(100 * alone / turns["none"]["median_s"], 2),
        "overhead_percent": round(100 * (turns["one"]["median_s"] / turns["none"]["median_s"] - 1), 2),
    }
    if given.dry:
        print(measured)
    else:
        save("checkpointing", measured)


if __name__ == "__main__":
    main()
