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

from benchmarks.harness import alternate, save
from skipway import hardware
from skipway.data.dataset import Dataset, Split
from skipway.data.loader import Batch
from skipway.hardware import keep_freed_memory
from skipway.training.checkpoint_manager import CheckpointManager, checkpoints
from skipway.training.distributed import SINGLE_PROCESS
from skipway.training.hooks import save_checkpoint
from skipway.training.optimiser import set_training_mode
from skipway.training.recipes import QUICK
from skipway.training.run_manifest import RunOptions
from skipway.training.setup import setup_training
from skipway.training.step import train_step
from skipway.training.train_state import TrainRun, TrainState, fresh_state, run_identity, wrap_model

RECIPE = replace(QUICK, model="resnet18", batch=128, epochs=1000, lr=0.02, val=0.0, flip=True, pad=4)
IMAGES = 1280
ALONE_TURNS = 9


def noise() -> Dataset:
    """Images whose content does not matter here."""
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8)
    return Dataset("noise", tuple("abcdefghij"), Split(pixels, np.arange(IMAGES) % 10, [str(i) for i in range(IMAGES)]))


def opened(out: Path) -> tuple[TrainRun, TrainState]:
    """A run before its first step."""
    settings, quiet = hardware.decide(), Console(quiet=True)
    setup = setup_training(noise(), RECIPE, settings, quiet)
    identity = run_identity(setup.dataset, setup, SINGLE_PROCESS)
    run = TrainRun(
        setup, settings, SINGLE_PROCESS, RunOptions(), RECIPE.epochs * IMAGES // RECIPE.batch, identity, out, quiet
    )
    state = fresh_state(run)
    wrap_model(run, state)
    set_training_mode(state.net, RECIPE, only_classifier=False)
    return run, state


def all_batches(run: TrainRun) -> Iterator[Batch]:
    for epoch in count():
        yield from run.setup.batches.epoch(epoch)


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

        def steps(manager: CheckpointManager | None = None) -> None:
            for number in range(given.steps):
                batch = next(batches)
                placed = batch._replace(images=run.hardware.place_images(batch.images))
                train_step(run, state, placed, counted=True)
                if manager and number == 2:
                    save_checkpoint(run, state, manager)
            if manager:
                assert manager.wait(), "a checkpoint was not written"
            if run.hardware.device.type == "cuda":
                torch.cuda.synchronize()

        def seconds_alone() -> float:
            start = time.perf_counter()
            save_checkpoint(run, state, manager)
            assert manager.wait(), "a checkpoint was not written"
            return time.perf_counter() - start

        with CheckpointManager(run.out, run.console, run.options) as manager:
            turns = alternate({"none": steps, "one": lambda: steps(manager)}, given.rounds)
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
