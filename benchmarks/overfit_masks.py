"""Mask R-CNN fitted to 16 photographs of COCO: box and mask AP on the same images. results/overfit_masks.json

    python -m benchmarks.overfit_masks COCO [--steps 1200] [--threads 2]

What it shows is that network, losses and evaluation belong together, not how well it would do on other images. Taken
are the images without crowds whose smallest object is largest: of an object of a few pixels in the input, no mask
overlaps by 95 %.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

import skipway
from benchmarks.harness import save
from skipway import bundle, hardware
from skipway.data import open_dataset
from skipway.data.box_targets import BoxTargets
from skipway.data.dataset import Dataset
from skipway.training.recipes import DETECT_SCRATCH

CACHE = Path(__file__).parent.parent / "build" / "overfit_masks"
IMAGES = 16
FIGURES = ("ap", "ap50", "ap75", "mask_ap", "mask_ap50", "mask_ap75")


def chosen(dataset: Dataset) -> Dataset:
    """The IMAGES images with the largest smallest objects, as train and as val."""
    targets = dataset.train.targets
    assert isinstance(targets, BoxTargets)

    def smallest(place: int) -> float:
        rows = targets.rows(place)
        if rows.start == rows.stop or targets.crowd[rows].any():
            return 0.0
        sides = targets.boxes[rows][:, 2:] - targets.boxes[rows][:, :2]
        return float(sides.min() / targets.sizes[place].max())

    places = np.argsort([-smallest(i) for i in range(len(targets))], kind="stable")[:IMAGES]
    split = dataset.train.take(np.sort(places))
    return replace(dataset, train=split, val=split, test=None)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("coco", type=Path)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    given = parser.parse_args()
    settings = hardware.decide("cpu")
    if given.threads:
        torch.set_num_threads(given.threads)
        settings = replace(settings, threads=given.threads)
    dataset = chosen(open_dataset(str(given.coco)))
    recipe = replace(DETECT_SCRATCH, size=320, iterations=given.steps, batch=4, crop="none", flip=False, val_every=50)
    run = CACHE / f"{given.steps}"
    if not (run / bundle.SUMS).exists():
        skipway.train(dataset, recipe, run, settings, Console(), bad=None, model="maskrcnn_resnet18")
    card = bundle.read_card(run)
    save(
        "overfit_masks",
        {
            "what": "box and mask AP in percent of a Mask R-CNN on the 16 photographs that it was trained on",
            "network": card.network["name"],
            "recipe": card.recipe,
            "images": list(dataset.train.names),
            "objects": int(dataset.train.targets.tensor()[1].ge(0).sum()),
            **{name: round(100 * card.metrics["val"][name], 2) for name in FIGURES},
            "minutes": round(card.seconds / 60, 1),
            "threads": settings.threads,
        },
    )


if __name__ == "__main__":
    main()
