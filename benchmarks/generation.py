"""Generators from one command: class accuracy of samples, distances, copies and time. results/generation.json

    python -m benchmarks.generation digits|mnist|cifar DATA [--seeds 0 1 2] [--threads N] [--iterations N]

DATA is digits, or a folder. Each seed trains with the recipe that `skipway train DATA --task generate` chooses, and its
samples are evaluated on test, without guidance, by a classifier that is trained apart on the same training images. A
finished training in build/generation is not repeated, and an interrupted one goes on. The figures of the other sets in
the file stay.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import skipway
from benchmarks.harness import RESULTS, mean_and_deviation, save
from skipway import bundle, hardware
from skipway.data import open_dataset
from skipway.data.read_options import ReadOptions
from skipway.hardware import Hardware
from skipway.training.run_manifest import has_manifest

CACHE = Path(__file__).parent.parent / "build" / "generation"
SETS = {  # what it is, and the classifier's recipe
    "digits": ("scikit-learn's digits, 8 x 8: 1,295 training images", {}),
    "mnist": ("MNIST, 28 x 28: 54,000 training images", {"recipe": "quick", "epochs": 3, "batch": 128}),
    "cifar": ("the JPEG copy of CIFAR-10, 32 x 32: 45,000 training images", {"recipe": "quick", "epochs": 10}),
}
SHARES = ("class_accuracy", "image_class_accuracy", "copies", "image_copies", "precision", "recall", "coverage")
DISTANCES = ("frechet_distance", "frechet_floor", "kernel_distance", "velocity_loss", "train_velocity_loss")


def trained(out: Path, data: str, settings: Hardware, **given: Any) -> Path:
    """The run in `out`, trained, resumed or as it is."""
    finished = (out / bundle.SUMS).exists() and bundle.read_card(out).metrics
    if not finished and has_manifest(out):
        skipway.resume(out, settings, Console())
    elif not finished:
        skipway.train(data, out=out, hardware=settings, console=Console(), **given)
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=SETS)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=0, help="of a training; 0: all")
    parser.add_argument("--iterations", type=int, default=0, help="0: the recipe's")
    parser.add_argument("--samples", type=int, default=0, help="0: as `skipway eval` chooses")
    given = parser.parse_args()
    settings = hardware.decide("cpu")
    if given.threads:
        torch.set_num_threads(given.threads)
        settings = replace(settings, threads=given.threads)
    what, classifier = SETS[given.kind]
    length = {"iterations": given.iterations} if given.iterations else {}
    judge = trained(CACHE / given.kind / "classifier", given.data, settings, **classifier)
    reading, found, cards = ReadOptions(task="generate"), [], []
    for seed in given.seeds:
        out = CACHE / given.kind / f"seed-{seed}"
        run = trained(out, given.data, settings, reading=reading, seed=seed, changes=length)
        dataset = open_dataset(given.data, reading)
        evaluation = skipway.evaluate(
            run, dataset, out=out / "report", hardware=settings, classifier=judge, samples=given.samples
        )
        found.append(evaluation.metrics)
        cards.append(bundle.read_card(run))
        print(f"seed {seed}: {evaluation.metrics}", flush=True)
    recipe = cards[0].recipe
    figures: dict[str, Any] = {name: [round(100 * one[name], 2) for one in found] for name in SHARES}
    figures |= {name: [round(one[name], 5) for one in found] for name in DISTANCES}
    figures["minutes"] = [round(card.seconds / 60, 2) for card in cards]
    file = RESULTS / "generation.json"
    others = json.loads(file.read_text()).get("sets", {}) if file.exists() else {}
    measured = {
        "what": what,
        "network": cards[0].network,
        "recipe": recipe,
        "images_trained_on": (recipe["iterations"] * recipe["batch"]),
        "seeds": given.seeds,
        "threads": settings.threads,
        "samples": found[0]["samples"],
        "evaluations_of_a_sample": found[0]["evaluations"],
        "features": found[0]["features"],
        "classifier_on_test": round(100 * skipway.load(judge).metrics["top1"], 2),
        "figures": {name: mean_and_deviation(values) for name, values in figures.items()},
        "commit": cards[0].commit,
    }
    save(
        "generation",
        {
            "what": "generators by one command, evaluated on test without guidance by a classifier trained apart: "
            "shares in percent, distances in its features",
            "sets": others | {given.kind: measured},
        },
    )


if __name__ == "__main__":
    main()
