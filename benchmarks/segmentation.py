"""CamVid from scratch: mIoU on val over seeds, and the time of an image. results/segmentation.json

    python -m benchmarks.segmentation CAMVID [--seeds 0 1] [--threads 2]

Each seed trains with the recipe `segment-scratch`, as `skipway train CAMVID --from-scratch --ignore 11` chooses it for
a processor. The recipe was chosen on val, which is also what is measured: CamVid's test part is not here. The figure is
computed once more, by NumPy, from the PNG files that `skipway predict --masks` writes. A finished training in
build/segmentation is not repeated, and an interrupted one goes on.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console

import skipway
from benchmarks.harness import mean_and_deviation, milliseconds_an_image, save
from skipway import bundle, hardware
from skipway.data import open_dataset
from skipway.data.dataset import Dataset
from skipway.data.mask_targets import IGNORE, MaskTargets
from skipway.data.preprocess import Preprocessing
from skipway.data.read_options import ReadOptions
from skipway.deploy.predict.writer import masked
from skipway.training.autoconfig import configure
from skipway.training.run_manifest import has_manifest

CACHE = Path(__file__).parent.parent / "build" / "segmentation"
CLASSES = "sky,building,pole,road,pavement,tree,sign,fence,car,pedestrian,bicyclist"
VOID = "11"
FIGURES = ("miou", "pixel_accuracy", "mean_accuracy", "boundary_f")


def train(dataset: Dataset, seed: int, settings: hardware.Hardware) -> Path:
    """The run of a seed."""
    out, console = CACHE / f"seed-{seed}", Console()
    if (out / bundle.SUMS).exists() and bundle.read_card(out).metrics.get("val"):
        return out
    if has_manifest(out):
        skipway.resume(out, settings, console)
        return out
    recipe = configure(dataset, None, {"seed": seed}, "scratch", None, settings, console)
    skipway.train(dataset, recipe, out, settings, console, bad=None)
    return out


def miou_of_files(run: Path, dataset: Dataset, settings: hardware.Hardware) -> float:
    """Mean IoU in percent from the PNG files that are written for val, by NumPy alone."""
    val = dataset.split("val")
    targets = val.targets
    assert isinstance(targets, MaskTargets)
    counts = np.zeros((len(dataset.classes), len(dataset.classes)), dtype=np.int64)
    predictor = skipway.Predictor(run, settings)
    with tempfile.TemporaryDirectory() as folder:
        for _ in masked(predictor.predict(list(val.items)), predictor.task.presenter, Path(folder)):
            pass
        for place, item in enumerate(val.items):
            with Image.open(Path(folder, f"{Path(str(item)).stem}.png")) as file:
                found = np.asarray(file)
            truth = targets.label_map(place)
            np.add.at(counts, (truth[truth != IGNORE], found[truth != IGNORE]), 1)
    both = counts.diagonal()
    return round(100 * float(np.mean(both / (counts.sum(0) + counts.sum(1) - both))), 2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--threads", type=int, default=0, help="of a training; 0: all")
    parser.add_argument("--only-train", action="store_true", help="measure nothing")
    given = parser.parse_args()
    settings = hardware.decide("cpu")
    if given.threads:
        torch.set_num_threads(given.threads)
        settings = replace(settings, threads=given.threads)
    dataset = open_dataset(str(given.camvid), ReadOptions(ignore=VOID, class_names=CLASSES))
    runs = [train(dataset, seed, settings) for seed in given.seeds]
    if given.only_train:
        return
    cards = [bundle.read_card(run) for run in runs]
    figures: dict[str, Any] = {
        name: mean_and_deviation([100 * card.metrics["val"][name] for card in cards]) for name in FIGURES
    }
    evaluation = skipway.evaluate(runs[0], dataset, split="val", out=CACHE / "report", hardware=settings)
    classes = {
        row["class"]: [None if row[name] is None else round(100 * row[name], 1) for name in ("iou", "accuracy")]
        for row in evaluation.per_class  # type: ignore[attr-defined]
    }
    files = [Path(str(item)) for item in dataset.split("val").items]
    save(
        "segmentation",
        {
            "what": "CamVid, 367 training and 101 val images, 11 classes, void ignored, from scratch; percent, on val",
            "network": cards[0].network["name"],
            "recipe": cards[0].recipe,
            "input": list(Preprocessing(**cards[0].preprocessing).canvas),
            "seeds": given.seeds,
            "val": figures,
            "miou_of_the_written_files": [miou_of_files(run, dataset, settings) for run in runs],
            "iou_and_accuracy_of_seed_0_by_class": classes,
            "minutes": [round(card.seconds / 60, 1) for card in cards],
            "threads_of_a_training": settings.threads,
            "milliseconds_an_image": milliseconds_an_image(runs[0], files[:30], hardware.decide("cpu")),
        },
    )


if __name__ == "__main__":
    main()
