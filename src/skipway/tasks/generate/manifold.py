"""Precision, recall, density and coverage of generated images, from the neighbours of their features.

Kynkäänniemi, Karras, Laine, Lehtinen, Aila: Improved Precision and Recall Metric for Assessing Generative Models.
NeurIPS 2019, arXiv:1904.06991, eq. 1-2.
Naeem, Oh, Uh, Choi, Yoo: Reliable Fidelity and Diversity Metrics for Generative Models. ICML 2020, arXiv:2002.09797,
eq. 3-4.

The ball of an image has its k-th nearest neighbour in its own set on its boundary, where the image itself is no
neighbour. Balls are closed: distances that are equal to the radius, up to rounding, are inside (the second paper's
code has open ones, which for images that are all different gives the same). All four depend on the numbers of images
and on k, and are comparable at equal ones alone.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skipway.errors import refuse_if
from skipway.tasks.generate.frechet import require_features

NEIGHBOURS = 5  # k: the neighbour on the boundary of a ball
NUMBERS = 2**22  # distances at a time: 32 MiB
ROUNDING = 1e-12  # of a squared distance, relative to the largest squared norm


class ManifoldMeasures(NamedTuple):
    """precision: the share of samples in a ball of a real image; recall: of real images in a ball of a sample; density:
    how many balls of real images a sample is in, over k (1 is expected of equal distributions, and more is possible);
    coverage: the share of real images with a sample in their ball."""

    precision: float
    recall: float
    density: float
    coverage: float


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """float64 (n, m): squared Euclidean distances of the rows of float64 (n, d) and (m, d); exact for integers."""
    return (a.square().sum(1)[:, None] + b.square().sum(1)[None]).sub_(2 * (a @ b.T)).clamp_(min=0)


def chunks(count: int, numbers: int) -> Iterator[slice]:
    """Slices of range(count), each of so many rows that NUMBERS of them with `numbers` each are held at once."""
    rows = max(NUMBERS // numbers, 1)
    for first in range(0, count, rows):
        yield slice(first, min(first + rows, count))


def squared_radii(features: Tensor, k: int) -> Tensor:
    """float64 (n,): the squared distance from each row of (n, d) to its k-th nearest other row."""
    found = []
    for part in chunks(len(features), len(features)):
        distances = squared_distances(features[part], features)
        distances[torch.arange(len(distances)), torch.arange(part.start, part.stop)] = torch.inf
        found.append(distances.kthvalue(k, dim=1).values)
    return torch.cat(found)


def manifold_measures(real: np.ndarray, samples: np.ndarray, k: int = NEIGHBOURS) -> ManifoldMeasures:
    """The four measures of float features (n, d) of real images and (m, d) of samples, in float64.

    Raises SkipwayError for fewer than k + 1 rows.
    """
    refuse_if(k < 1, f"the neighbour k = {k}", "it must be 1 or more")
    require_features(real, samples, fewest=k + 1)
    origin = real.mean(0, dtype=np.float64)  # distances are more exact near the origin
    ours, theirs = (torch.from_numpy(x.astype(np.float64) - origin) for x in (real, samples))
    tolerance = ROUNDING * max(float(x.square().sum(1).max()) for x in (ours, theirs))
    radii_real, radii_samples = (squared_radii(x, k) + tolerance for x in (ours, theirs))
    balls = torch.zeros(len(theirs), dtype=torch.int64)  # of real images that each sample is in
    recalled = covered = 0
    for part in chunks(len(ours), len(theirs)):
        distances = squared_distances(ours[part], theirs)
        inside = distances <= radii_real[part, None]
        balls += inside.sum(0)
        covered += int(inside.any(1).sum())
        recalled += int((distances <= radii_samples).any(1).sum())
    return ManifoldMeasures(
        precision=float((balls > 0).double().mean()),
        recall=recalled / len(ours),
        density=float(balls.double().mean()) / k,
        coverage=covered / len(ours),
    )
