"""Distillation: accuracy against time of a small network, alone and taught by a larger one. results/distillation.json

python -m benchmarks.distillation [FOLDER]     FOLDER: CIFAR-10, any form that `open_dataset` reads

Some images of FOLDER, or the digits of scikit-learn without it. The weight of the teacher is chosen by the
mean accuracy on val over the seeds; test is read once, for the chosen weight, the network alone and the teacher. The
network alone is also trained for as many processor seconds as the taught one took, with more epochs. On the digits this
takes some six minutes of a core.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

import skipway
from benchmarks.harness import alternate, mean_and_deviation, save
from skipway.data.dataset import Dataset
from skipway.models import build
from skipway.training.recipes import QUICK, Recipe

SEEDS = (0, 1, 2)
WEIGHTS = (0.3, 0.7)
TEACHER, STUDENT = "resnet56", "resnet20"
IMAGES = 1500  # of each split of FOLDER
EPOCHS = {"digits": 15}  # of others 5
LONGER = 3  # times as many epochs for the teacher, which is deeper and learns more slowly at first
VAL = 0.2
ROUNDS = 15  # of timing


def images(folder: Path | None) -> Dataset:
    """The digits, or evenly spaced images of `folder`, whose test split is cut likewise."""
    if folder is None:
        return skipway.open_dataset("digits")
    whole = skipway.open_dataset(str(folder))
    cut: dict[str, Any] = {
        name: split.take(np.linspace(0, len(split) - 1, IMAGES).astype(int)) for name, split in whole.splits.items()
    }
    return replace(whole, **cut)


def recipe_for(dataset: Dataset) -> Recipe:
    return replace(QUICK, epochs=EPOCHS.get(dataset.name, 5), val=VAL)


def trained(dataset: Dataset, recipe: Recipe, out: Path) -> tuple[float, float, float]:
    """Accuracy on val and on test in percent, and the processor seconds of a training."""
    start = time.process_time()
    run = skipway.train(dataset, recipe, out)
    seconds = time.process_time() - start
    metrics = run.card.metrics
    return 100 * metrics["val"]["top1"], 100 * metrics["test"]["top1"], seconds


def measured(dataset: Dataset, folder: Path) -> dict[str, list[tuple[float, float, float]]]:
    """What `trained` returns for each seed: of the teacher, the student alone, with each weight, and for longer."""
    found: dict[str, list[tuple[float, float, float]]] = {}
    plain = recipe_for(dataset)

    def note(name: str, seed: int, recipe: Recipe) -> float:
        result = trained(dataset, replace(recipe, seed=seed), folder / f"{name}-{seed}")
        found.setdefault(name, []).append(result)
        print(f"{name}, seed {seed}: val {result[0]:.2f} %, {result[2]:.0f} processor seconds", flush=True)
        return result[2]

    for seed in SEEDS:
        note("teacher", seed, replace(plain, model=TEACHER, epochs=LONGER * plain.epochs))
        student = replace(plain, model=STUDENT)
        alone = note("alone", seed, student)
        taught = [
            note(
                f"taught {weight}",
                seed,
                replace(student, teacher=str(folder / f"teacher-{seed}"), teacher_weight=weight),
            )
            for weight in WEIGHTS
        ]
        longer = round(plain.epochs * statistics.fmean(taught) / alone)
        note("longer", seed, replace(student, epochs=longer))
    return found


def relative_times(size: int, channels: int) -> dict[str, dict[str, Any]]:
    """Seconds of a batch through the teacher's and the student's network, taking turns."""
    batch = torch.randn(64, channels, size, size)

    def forward(name: str) -> Callable[[], None]:
        net = build(name, classes=10, channels=channels).eval()

        def run() -> None:
            with torch.inference_mode():
                net(batch)

        return run

    return alternate({name: forward(name) for name in (TEACHER, STUDENT)}, ROUNDS, warm=3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    dataset = images(parser.parse_args().folder)
    with tempfile.TemporaryDirectory() as folder:
        found = measured(dataset, Path(folder))
    best = max(WEIGHTS, key=lambda weight: statistics.fmean(val for val, _, _ in found[f"taught {weight}"]))
    rows = {"teacher": "teacher", "alone": "alone", "longer": "longer", "taught": f"taught {best}"}
    size, channels = (8, 1) if dataset.name == "digits" else (32, 3)
    times = relative_times(size, channels)
    save(
        "distillation",
        {
            "what": "test accuracy in percent over seeds of a small network alone, alone for as long as the taught one "
            "and taught by a larger one; processor seconds of each training, the teacher's own not included",
            "data": dataset.name if dataset.name == "digits" else f"{IMAGES} images each of CIFAR-10's train and test",
            "teacher": TEACHER,
            "student": STUDENT,
            "recipe": f"quick, {recipe_for(dataset).epochs} epochs",
            "weight": {"of": WEIGHTS, "chosen_on_val": best},
            "val": {name: mean_and_deviation([val for val, _, _ in results]) for name, results in found.items()},
            "accuracy": {name: mean_and_deviation([test for _, test, _ in found[key]]) for name, key in rows.items()},
            "processor_seconds": {
                name: mean_and_deviation([seconds for _, _, seconds in found[key]]) for name, key in rows.items()
            },
            "teacher_slower": round(times[TEACHER]["median_s"] / times[STUDENT]["median_s"], 2),
        },
    )


if __name__ == "__main__":
    main()
