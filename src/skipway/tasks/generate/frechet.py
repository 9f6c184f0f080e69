"""Distances between two sets of images, from features of a network: Fréchet distance and kernel distance.

Heusel, Ramsauer, Unterthiner, Nessler, Hochreiter: GANs Trained by a Two Time-Scale Update Rule Converge to a Local
Nash Equilibrium. NeurIPS 2017, arXiv:1706.08500, eq. 6.
Bińkowski, Sutherland, Arbel, Gretton: Demystifying MMD GANs. ICLR 2018, arXiv:1801.01401, sec. 4.

Only in features of the Inception network of 2015 are they FID and KID (fidelity.py); in those of another network they
are comparable with figures in the same features alone. The Fréchet distance of finite sets is too large by about K/n,
K depending on the features, so it is compared at equal n: with that of training and test images, say. The kernel
distance has no such bias.
"""

from typing import NamedTuple

import numpy as np

from skipway.errors import refuse_if

SUBSETS, SUBSET_SIZE = 100, 1000  # of kernel distances, as in the paper


class KernelDistance(NamedTuple):
    """distance: the mean over subsets of `size` rows of each set, which may be below 0; deviation: over the subsets."""

    distance: float
    deviation: float
    size: int


def require_features(a: np.ndarray, b: np.ndarray, fewest: int) -> None:
    """Raises SkipwayError unless both are finite (n, d) with the same d and at least `fewest` rows."""
    shapes = f"features of shapes {a.shape} and {b.shape}"
    refuse_if(a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1], shapes, "both must be (images, d) with equal d")
    few = min(len(a), len(b))
    refuse_if(few < fewest, f"{few} images are too few for this measure", f"it needs {fewest} or more in both sets")
    refuse_if(
        not (np.isfinite(a).all() and np.isfinite(b).all()), "features are not finite", "check the network's weights"
    )


def mean_and_covariance(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean (d,) and the covariance (d, d), with n - 1, of float64 features (n, d)."""
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)


def root(matrix: np.ndarray) -> np.ndarray:
    """The square root of a symmetric matrix without negative eigenvalues but those of rounding."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """|m1 - m2|² + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2) of float features (n, d) and (m, d), computed in float64.

    The last trace is the sum of the roots of the eigenvalues of S1^(1/2) S2 S1^(1/2), which is symmetric: nothing is
    complex, also where S1 and S2 are singular (fewer than d + 1 images). Raises SkipwayError for fewer than two rows.
    """
    require_features(a, b, fewest=2)
    (mean_a, covariance_a), (mean_b, covariance_b) = (mean_and_covariance(x.astype(np.float64)) for x in (a, b))
    half = root(covariance_a)
    product = half @ covariance_b @ half
    roots = np.sqrt(np.linalg.eigvalsh((product + product.T) / 2).clip(min=0))
    distance = ((mean_a - mean_b) ** 2).sum() + np.trace(covariance_a) + np.trace(covariance_b) - 2 * roots.sum()
    return max(float(distance), 0.0)


def squared_mmd(a: np.ndarray, b: np.ndarray) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy of float64 features (n, d) and (m, d), with the
    kernel (x y / d + 1)³."""
    within = 0.0
    for x in (a, b):
        kernel = (x @ x.T / x.shape[1] + 1) ** 3
        within += (kernel.sum() - np.trace(kernel)) / (len(x) * (len(x) - 1))
    between = ((a @ b.T / a.shape[1] + 1) ** 3).mean()
    return float(within - 2 * between)


def kernel_distance(a: np.ndarray, b: np.ndarray, seed: int = 0) -> KernelDistance:
    """The kernel distance of float features (n, d) and (m, d), in float64.

    The mean of SUBSETS unbiased estimates, each from SUBSET_SIZE rows of a and of b drawn without replacement; of sets
    smaller than twice that, half of the smaller one. Raises SkipwayError for fewer than four rows.
    """
    require_features(a, b, fewest=4)
    size = min(SUBSET_SIZE, min(len(a), len(b)) // 2)
    generator = np.random.default_rng(seed)
    found = []
    for _ in range(SUBSETS):
        some = (x[generator.choice(len(x), size, replace=False)].astype(np.float64) for x in (a, b))
        found.append(squared_mmd(*some))
    return KernelDistance(float(np.mean(found)), float(np.std(found)), size)
