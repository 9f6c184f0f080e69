"""Whether generated images are copies of training images.

Favero, Sclocchi, Wyart: Bigger Isn't Always Memorizing: Early Stopping Overparameterized Diffusion Models.
arXiv:2505.16959: an image is a copy if the distance to its nearest training image is less than a third of that to the
second nearest.

Departure from the paper: where the training set holds an image twice, nearest and second nearest are equally far, and
the ratio of a copy is 1. So an image that hardly differs from its nearest training image counts as a copy whatever the
second is. Of an image that the training set holds twice, copies that differ by more remain uncounted.

The share of copies is to be read beside that of test images, which are no copies.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skipway.errors import refuse_if
from skipway.tasks.generate.manifold import chunks, squared_distances

RATIO = 1 / 3  # below which an image is a copy
SAME = 2 / 255  # root mean square difference, of the range of pixel values, below which two images are the same
QUERIES = 1024  # images compared at a time


@dataclass(frozen=True)
class NearestTraining:
    """The two nearest training images of each of n images.

    indices: int64 (n, 2), the nearer one first; distances: float64 (n, 2), Euclidean over all pixels and channels, in
    units of the pixel values; same: bool (n,), whether image and nearest training image differ by less than SAME.
    """

    indices: np.ndarray
    distances: np.ndarray
    same: np.ndarray

    @property
    def ratio(self) -> np.ndarray:
        """float64 (n,): the nearest distance over the second, in [0, 1]; 1 where both are 0."""
        nearest, second = self.distances.T
        return np.divide(nearest, second, out=np.ones_like(second), where=second > 0)

    @property
    def copied(self) -> np.ndarray:
        """bool (n,): which images are copies."""
        return self.same | (self.ratio < RATIO)

    @property
    def share(self) -> float:
        """The share of copies, in [0, 1]."""
        return float(self.copied.mean())

    def most_alike(self, count: int) -> np.ndarray:
        """int64 (at most count,): the images most like a copy, same ones first, then by ratio."""
        order = np.lexsort((self.distances[:, 0], np.where(self.same, -1.0, self.ratio)))
        return order[:count]


def flat(images: Tensor) -> Tensor:
    """Images (n, ...) as float64 (n, pixels)."""
    return images.reshape(len(images), -1).double()


def nearest_two(images: Tensor, training: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances float64 and indices int64, (n, 2) each: the two nearest of `training` for each of `images`, of
    equally near ones the first."""
    nearest = torch.full((len(images), 2), torch.inf, dtype=torch.float64)
    places = torch.zeros(len(images), 2, dtype=torch.int64)
    queries = flat(images)
    for part in chunks(len(training), max(training[0].numel(), len(images))):
        distances = squared_distances(queries, flat(training[part]))
        for _ in range(2):
            found = distances.min(1)
            distances.scatter_(1, found.indices[:, None], torch.inf)
            nearest = torch.cat([nearest, found.values[:, None]], 1)
            places = torch.cat([places, found.indices[:, None] + part.start], 1)
        nearest, order = nearest.sort(dim=1, stable=True)
        nearest, places = nearest[:, :2], places.gather(1, order)[:, :2]
    return nearest, places


def nearest_training(images: Tensor, training: Tensor) -> NearestTraining:
    """The nearest training images of `images` (n, C, H, W) among `training` (m, C, H, W), and which are copies.

    Both are uint8, for which the distances are exact, or both float in [-1, 1]. Computed in float64 on the CPU, a part
    of the training images at a time. Raises SkipwayError for other types, different shapes, no images, and fewer than
    two training images.
    """
    refuse_if(len(training) < 2, f"{len(training)} training images", "two or more are needed to find copies")
    refuse_if(not len(images), "no images", "one or more are needed to find copies")
    types = f"images are {images.dtype} and training images {training.dtype}"
    known = images.dtype == torch.uint8 or images.is_floating_point()
    refuse_if(not known or images.dtype != training.dtype, types, "both must be uint8, or both float in [-1, 1]")
    shapes = f"images are {tuple(images.shape[1:])} and training images {tuple(training.shape[1:])}"
    refuse_if(images.shape[1:] != training.shape[1:], shapes, "both need the same channels, height and width")
    found = [nearest_two(part, training) for part in images.cpu().split(QUERIES)]
    squared, places = (torch.cat(parts) for parts in zip(*found, strict=True))
    distances = squared.sqrt()
    whole_range = 255 if images.dtype == torch.uint8 else 2
    same = distances[:, 0] < SAME * whole_range * images[0].numel() ** 0.5
    return NearestTraining(places.numpy(), distances.numpy(), same.numpy())
