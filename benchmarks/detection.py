"""BCCD's official split, from scratch: box AP on test over seeds, and the time of an image. results/detection.json

    python -m benchmarks.detection BCCD [--seeds 0 1] [--threads 2]

Each seed trains with the recipe `detect-scratch`, as `skipway train BCCD --from-scratch --bad skip` chooses it for a
processor; the recipe was chosen on val. Test is read once, at the end of each training. A finished training in
build/detection is not repeated.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

import skipway
from benchmarks.harness import mean_and_deviation, milliseconds_an_image, save
from skipway import bundle, hardware
from skipway.commands.check import check_for_training
from skipway.data import open_dataset
from skipway.data.preprocess import Preprocessing
from skipway.training.autoconfig import configure

CACHE = Path(__file__).parent.parent / "build" / "detection"
FIGURES = ("ap", "ap50", "ap75")


def train(bccd: Path, seed: int, settings: hardware.Hardware) -> Path:
    """The run of a seed."""
    out, console = CACHE / f"seed-{seed}", Console()
    if (out / bundle.SUMS).exists() and bundle.read_card(out).metrics.get("test"):
        return out
    dataset = check_for_training(open_dataset(str(bccd)), "skip")
    recipe = configure(dataset, None, {"seed": seed}, "scratch", None, settings, console)
    skipway.train(dataset, recipe, out, settings, console, bad=None)
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bccd", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--threads", type=int, default=0, help="of a training; 0: all")
    given = parser.parse_args()
    settings = hardware.decide("cpu")
    if given.threads:
        torch.set_num_threads(given.threads)
        settings = replace(settings, threads=given.threads)
    runs = [train(given.bccd, seed, settings) for seed in given.seeds]
    cards = [bundle.read_card(run) for run in runs]
    figures: dict[str, Any] = {
        name: mean_and_deviation([100 * card.metrics["test"][name] for card in cards]) for name in FIGURES
    }
    reports = [json.loads((run / "report.json").read_text()) for run in runs]
    per_class = {
        row["class"]: [round(100 * row[name], 2) for name in ("ap", "ap50")] for row in reports[0]["per_class"]
    }
    files = [Path(str(item)) for item in open_dataset(str(given.bccd)).split("val").items]
    save(
        "detection",
        {
            "what": "BCCD (official split, 205 / 87 / 72 images), FCOS from scratch; AP and AP50 of boxes in percent",
            "network": cards[0].network["name"],
            "recipe": cards[0].recipe,
            "input": list(Preprocessing(**cards[0].preprocessing).canvas),
            "seeds": given.seeds,
            "test": figures,
            "ap_and_ap50_of_seed_0_by_class": per_class,
            "minutes": [round(card.seconds / 60, 1) for card in cards],
            "threads_of_a_training": settings.threads,
            "milliseconds_an_image": milliseconds_an_image(runs[0], files, hardware.decide("cpu")),
        },
    )


if __name__ == "__main__":
    main()
