"""Images for a report on generation: samples, those most like a training image, paths from noise, the training.

Small images are enlarged by a whole number without smoothing, so that every pixel is seen as it is; transparent pixels
are white.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from skipway.data.decode import WHITE
from skipway.reporting.pictures import as_rgb, as_uri
from skipway.tasks.generate.classifier_features import with_channels
from skipway.tasks.generate.evaluation import PER_CLASS, GenerateEvaluation
from skipway.tasks.generate.grid import arranged, enlarged, split

SMALL, LARGE = 56, 96  # pixels: the longer side of a tile is enlarged to at least, and reduced to at most that
QUALITY = 90  # of WebP, for tiles that were reduced; others are kept to the pixel


@dataclass(frozen=True)
class Picture:
    """A picture on the page: its data URI, and its size in pixels."""

    uri: str
    width: int
    height: int


@dataclass(frozen=True)
class Pair:
    """A sample and its nearest training image; ratio: its distance over that of the second nearest."""

    sample: Picture
    nearest: Picture
    ratio: float
    copy: bool


@dataclass(frozen=True)
class Preview:
    """The samples that were drawn after a step of the training."""

    step: int
    picture: Picture


def tiles(images: Tensor) -> np.ndarray:
    """Images uint8 (n, C, H, W) as tiles uint8 (n, h, w, 3); of other channels than 1, 3 and 4 the first ones."""
    channels = images.shape[1]
    if channels not in (1, 3, 4):
        images = images[:, : 3 if channels > 3 else 1]
    pixels = with_channels(images, 3, WHITE).permute(0, 2, 3, 1).numpy()
    height, width = pixels.shape[1:3]
    longer = max(height, width)
    if longer <= LARGE:
        return enlarged(pixels, SMALL)
    size = max(1, round(width * LARGE / longer)), max(1, round(height * LARGE / longer))
    return np.stack([np.asarray(as_rgb(image).resize(size, Image.Resampling.LANCZOS)) for image in pixels])


def grid(images: Tensor, columns: int) -> Image.Image:
    """Images uint8 (n, C, H, W), one or more, row by row on white."""
    return Image.fromarray(arranged(list(tiles(images)), split(range(len(images)), columns)))


def picture_of(images: Tensor, columns: int) -> Picture:
    """The grid as a picture on the page."""
    drawn = grid(images, columns)
    reduced = max(images.shape[2:]) > LARGE
    return Picture(as_uri(drawn, QUALITY if reduced else None), drawn.width, drawn.height)


def samples(evaluation: GenerateEvaluation) -> Picture:
    """The grid of samples, a row for each class."""
    return picture_of(torch.from_numpy(evaluation.grid), PER_CLASS)


def pairs(evaluation: GenerateEvaluation, count: int) -> list[Pair]:
    """At most `count` samples that are most like a training image; none where the training images are not known."""
    nearest, training = evaluation.nearest, evaluation.training
    if nearest is None or training is None:
        return []
    drawn = torch.from_numpy(evaluation.samples)
    return [
        Pair(
            picture_of(drawn[place : place + 1], 1),
            picture_of(training[nearest.indices[place, :1]], 1),
            float(nearest.ratio[place]),
            bool(nearest.copied[place]),
        )
        for place in nearest.most_alike(count)
    ]


def paths(evaluation: GenerateEvaluation) -> Picture:
    """The denoised images on the way from noise, a row for each time and a column for each sample."""
    frames = torch.from_numpy(evaluation.trajectories.images)
    return picture_of(frames.flatten(0, 1), frames.shape[1])


def previews(files: Sequence[Path], count: int) -> list[Preview]:
    """At most `count` of the pictures drawn during the training, evenly spread, with the last one.

    files: called step-N.png, in order.
    """
    places = np.unique(np.linspace(len(files) - 1, 0, min(count, len(files))).round().astype(int))
    found = []
    for file in (files[place] for place in places):
        with Image.open(file) as opened:
            drawn = opened.convert("RGB")
        step = int(file.stem.removeprefix("step-"))
        found.append(Preview(step, Picture(as_uri(drawn, QUALITY), drawn.width, drawn.height)))
    return found
