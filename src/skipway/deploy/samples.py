"""Images to try engines and exports on: real ones where there are any, and it is said where they are from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from skipway.bundle import Card
from skipway.data.decode import SUFFIXES
from skipway.data.loader import open_all
from skipway.data.preprocess import Preprocessing
from skipway.data.source import Item, Source, match_classes, with_validation
from skipway.deploy.training_data import opened_again
from skipway.errors import DataError, SkipwayError


@dataclass(frozen=True)
class Samples:
    """Fitted images uint8 (n, C, size, size), their labels where they are known, and what they are, in words."""

    images: Tensor
    labels: Tensor | None
    origin: str


def given(items: Sequence[Path | Item], preprocessing: Preprocessing) -> Samples | None:
    """The readable ones of somebody's images; None where there is none."""
    opened = []
    for i, item in enumerate(items):
        try:
            opened.append(preprocessing.open(item, str(item) if isinstance(item, Path) else f"image {i}"))
        except DataError:
            continue  # predict names it when its turn comes
    return Samples(torch.stack(opened), None, f"{len(opened)} of the images given") if opened else None


def generated(preprocessing: Preprocessing, count: int) -> Samples:
    """Smooth random patterns of every brightness: images that no network was made for, and said to be that."""
    side, rng = preprocessing.size, torch.Generator().manual_seed(0)
    coarse = torch.rand(count, preprocessing.channels, 5, 5, generator=rng)
    smooth = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0, 1)
    noise = torch.rand(smooth.shape, generator=rng)
    images = (smooth * 0.9 + noise * 0.1).mul(255).round().to(torch.uint8)
    return Samples(images, None, f"{count} generated images, as no real ones were at hand")


def source_of(card: Card, data: str | None) -> Source:
    """`data` (None: what the network was trained on) in the card's classes: without what the training left
    out, and with val cut as it was for it.

    Raises DataError where the data cannot be opened or have other classes.
    """
    if data is None and not card.data.get("fingerprint"):
        raise DataError("what these weights were trained on is not known here: name images with --data")
    source, mark = opened_again(data, card)
    if mark == card.data.get("fingerprint"):
        source = with_validation(source, card.recipe["val"], card.recipe["seed"])
    return match_classes(source, card.classes)


def unseen_split(source: Source) -> str:
    """The split that engines and exports are tried on: val, else test, else all there is."""
    return "val" if source.val is not None else source.judged_on()


def spread(count: int, most: int) -> np.ndarray:
    """At most `most` of `count` places at even distances, so that classes in order are all seen."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int)


def opened(source: Source, name: str, places: np.ndarray, card: Card) -> Samples:
    """The images of a split at `places`, fitted as the card says."""
    chosen = source.split(name).take(places)
    images = open_all(chosen, Preprocessing(**card.preprocessing))
    return Samples(images, torch.from_numpy(chosen.labels), f"{len(chosen)} images of {name} of {source.name}")


def at_hand(card: Card, items: Sequence[Path | Item], data: str | None, count: int) -> Samples:
    """`items`, else images of `data` or of the card's data, else generated ones.

    Raises DataError when `data` or `items` are given and hold no image that can be read.
    """
    preprocessing = Preprocessing(**card.preprocessing)
    if items:
        found = given(list(items)[:count], preprocessing)
        if found is None:
            endings = ", ".join(sorted(SUFFIXES))
            raise DataError(f"none of the {len(items)} images given can be read: give images ({endings})")
        return found
    try:
        source = source_of(card, data)
        name = unseen_split(source)
        return opened(source, name, spread(len(source.split(name)), count), card)
    except SkipwayError:
        if data is not None:
            raise
        return generated(preprocessing, count)
