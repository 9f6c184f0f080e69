"""Sample inputs for comparing engines and exports: real images where there are any, with their origin."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skipway.bundle import Card
from skipway.data.dataset import Dataset, Item, match_classes, with_validation
from skipway.data.decode import SUFFIXES
from skipway.data.loader import decode_all
from skipway.data.preprocess import Preprocessing
from skipway.data.targets import Labels
from skipway.deploy.training_data import reopen_dataset
from skipway.errors import DataError, SkipwayError
from skipway.trained import task_of


@dataclass(frozen=True)
class Samples:
    """Inputs of a network, (n, ...) each: fitted images uint8 (n, C, *canvas), or what its task takes instead; the
    images' targets where they are known; and what they are, in words."""

    inputs: tuple[Tensor, ...]
    targets: Labels | None
    origin: str


def given(items: Sequence[Path | Item], preprocessing: Preprocessing) -> Samples | None:
    """The readable ones of somebody's images; None where there is none."""
    opened = []
    for i, item in enumerate(items):
        try:
            opened.append(preprocessing.open(item, str(item) if isinstance(item, Path) else f"image {i}"))
        except DataError:
            continue  # predict names it when its turn comes
    return Samples((torch.stack(opened),), None, f"{len(opened)} of the images given") if opened else None


def generated(preprocessing: Preprocessing, count: int) -> Samples:
    """Smooth random patterns of every brightness: not real images, and labelled as such."""
    rng = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, preprocessing.channels, 5, 5, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, size=preprocessing.canvas, mode="bicubic").clamp(0, 1)
    noise = torch.rand(smooth.shape, generator=rng)
    images = (smooth * 0.9 + noise * 0.1).mul(255).round().to(torch.uint8)
    return Samples((images,), None, f"{count} generated images, as no real ones were at hand")


def source_of(card: Card, data: str | None) -> Dataset:
    """`data` (None: what the network was trained on) in the card's classes: without what the training left
    out, and with val cut as it was for it.

    Raises DataError where the data cannot be opened or have other classes.
    """
    if data is None and not card.data.get("fingerprint"):
        raise DataError("what these weights were trained on is not known here: name images with --data")
    dataset, mark = reopen_dataset(data, card)
    if mark == card.data.get("fingerprint"):
        dataset = with_validation(dataset, card.recipe["val"], card.recipe["seed"])
    return match_classes(dataset, card.classes)


def unseen_split(dataset: Dataset) -> str:
    """The split that engines and exports are tried on: val, else test, else all there is."""
    return "val" if dataset.val is not None else dataset.eval_split()


def spread(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` places at even distances, so that classes in order are all seen."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def opened(dataset: Dataset, name: str, places: np.ndarray, card: Card) -> Samples:
    """The images of a split at `places`, fitted as the card says."""
    chosen = dataset.split(name).take(places)
    images = decode_all(chosen, Preprocessing(**card.preprocessing))
    return Samples((images,), chosen.targets.tensor(), f"{len(chosen)} images of {name} of {dataset.name}")


def at_hand(card: Card, items: Sequence[Path | Item], data: str | None, count: int) -> Samples:
    """`items`, else images of `data` or of the card's data, else generated ones; random inputs for a network that takes
    no images.

    Raises DataError when `data` or `items` are given and hold no image that can be read, or the network takes none.
    """
    preprocessing, task = Preprocessing(**card.preprocessing), task_of(card)
    random = task.random_inputs(preprocessing, count)
    if random is not None:
        if items or data is not None:
            raise DataError(f"a network of the task {task.name} takes no images: leave out images and data")
        inputs, origin = random
        return Samples(inputs, None, origin)
    if items:
        found = given(list(items)[:count], preprocessing)
        if found is None:
            endings = ", ".join(sorted(SUFFIXES))
            raise DataError(f"none of the {len(items)} images given can be read: give images ({endings})")
        return found
    try:
        dataset = source_of(card, data)
        name = unseen_split(dataset)
        return opened(dataset, name, spread(len(dataset.split(name)), count), card)
    except SkipwayError:
        if data is not None:
            raise
        return generated(preprocessing, count)
