"""Generators from one command: class accuracy of samples, distances, copies and time. results/generation.json

    python -m benchmarks.generation digits|mnist|cifar DATA [--seeds 0 1 2] [--threads N] [--iterations N]
    python -m benchmarks.generation digits|mnist|cifar DATA --start STEPS [--threads N]

DATA is digits, or a folder. Each seed trains with the recipe that `skipway train DATA --task generate` chooses, and its
samples are evaluated on test, without guidance, by a classifier that is trained apart on the same training images. A
finished training in build/generation is not repeated, and an interrupted one goes on.

With --start, a training of so few steps and nothing else: whether the loss falls, images a second (of the processor,
with one thread), and the hours that ten million images would take. Whatever else the file has stays, also of the same
set.
"""

import argparse
import json
import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import skipway
from benchmarks.harness import RESULTS, mean_and_deviation, surroundings
from benchmarks.provenance import hashes
from skipway import bundle, hardware
from skipway.data import open_dataset
from skipway.data.dataset import Dataset
from skipway.data.read_options import ReadOptions
from skipway.hardware import Hardware
from skipway.training.autoconfig import configure
from skipway.training.distributed import SINGLE_PROCESS
from skipway.training.run_manifest import DEFAULT_OPTIONS, has_manifest
from skipway.training.setup import require_steps, setup_training
from skipway.training.step import drain_losses, train_step
from skipway.training.train_state import TrainRun, fresh_state, wrap_model

CACHE = Path(__file__).parent.parent / "build" / "generation"
SETS = {  # what it is, and the classifier's recipe
    "digits": ("scikit-learn's digits, 8 x 8: 1,295 training images", {}),
    "mnist": ("MNIST, 28 x 28: 54,000 training images", {"recipe": "quick", "epochs": 3, "batch": 128}),
    "cifar": ("the JPEG copy of CIFAR-10, 32 x 32: 45,000 training images", {"recipe": "quick", "epochs": 10}),
}
SHARES = ("class_accuracy", "image_class_accuracy", "copies", "image_copies", "precision", "recall", "coverage")
DISTANCES = ("frechet_distance", "frechet_floor", "kernel_distance", "velocity_loss", "train_velocity_loss")


def trained(out: Path, data: str | Dataset, settings: Hardware, **given: Any) -> Path:
    """The run in `out`, trained, resumed or as it is."""
    finished = (out / bundle.SUMS).exists() and bundle.read_card(out).metrics
    if not finished and has_manifest(out):
        reading = given.get("reading", ReadOptions())
        skipway.train(data, out=out, hardware=settings, console=Console(), resume=True, reading=reading)
    elif not finished:
        skipway.train(data, out=out, hardware=settings, console=Console(), **given)
    return out


def recorded() -> dict[str, Any]:
    """What results/generation.json has."""
    file = RESULTS / "generation.json"
    what = (
        "generators by one command, evaluated on test without guidance by a classifier trained apart: shares in "
        "percent, distances in its features"
    )
    return json.loads(file.read_text()) if file.exists() else {"name": "generation", "what": what, **surroundings()}


def keep(measured: Mapping[str, Any], kind: str) -> None:
    """Write the figures of a set into the file, in which everything else stays."""
    keep_beside(recorded().get("sets", {}).get(kind, {}) | dict(measured), "sets", kind)


def keep_beside(measured: Mapping[str, Any], *place: str) -> None:
    """Write `measured` into the file at `place`, keys one below the other, with the commit, date and hashes of the code
    that it was measured with; those of the file stay, which are of the other figures."""
    around, found = surroundings(), recorded()
    within = found
    for key in place[:-1]:
        within = within.setdefault(key, {})
    stamps = {"commit": around["commit"], "date": around["date"], "code": hashes("generation")}
    within[place[-1]] = {**measured, **stamps}
    (RESULTS / "generation.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(within[place[-1]], indent=1))


def first_steps(dataset: Dataset, settings: Hardware, steps: int) -> dict[str, Any]:
    """A training of `steps` steps by the recipe that suits; the first one does not count for the speed."""
    console, alone = Console(), settings.device.type == "cpu" and settings.threads == 1
    clock = time.process_time if alone else time.perf_counter
    recipe = configure(dataset, None, {"iterations": steps}, "scratch", None, settings, console)
    made = setup_training(dataset, recipe, settings, console)
    run = TrainRun(made, settings, SINGLE_PROCESS, DEFAULT_OPTIONS, require_steps(made), {}, Path(), console)
    state = fresh_state(run)
    wrap_model(run, state)
    state.net.train()
    seconds = []
    for batch in islice(made.batches.epoch(0), steps):
        start = clock()
        train_step(run, state, batch._replace(images=settings.place_images(batch.images)), counted=False)
        seconds.append(clock() - start)
        print(f"step {state.step}: {seconds[-1]:.1f} s", flush=True)
    drain_losses(run, state)
    losses = state.recent_losses
    few, speed = max(1, steps // 8), recipe.batch / statistics.median(seconds[1:])
    return {
        "network": made.network,
        "batch": recipe.batch,
        "steps": steps,
        "first_loss": statistics.mean(losses[:few]),
        "last_loss": statistics.mean(losses[-few:]),
        "losses_averaged": few,
        "clock": "processor" if alone else "wall",
        "images_per_s": speed,
        "hours_to_ten_million_images": 1e7 / speed / 3600,
        "threads": settings.threads,
        "precision": str(settings.dtype).removeprefix("torch."),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=SETS)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=0, help="of a training; 0: all")
    parser.add_argument("--iterations", type=int, default=0, help="0: the recipe's")
    parser.add_argument("--samples", type=int, default=0, help="0: as `skipway eval` chooses")
    parser.add_argument("--start", type=int, default=0, metavar="STEPS", help="a training of so few steps, at least 2")
    given = parser.parse_args()
    settings = hardware.decide("cpu")
    if given.threads:
        torch.set_num_threads(given.threads)
        settings = replace(settings, threads=given.threads)
    if given.start:
        dataset = open_dataset(given.data, ReadOptions(task="generate"))
        keep_beside({"what": SETS[given.kind][0], **first_steps(dataset, settings, given.start)}, "starts", given.kind)
        return
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
    keep(measured, given.kind)


if __name__ == "__main__":
    main()
