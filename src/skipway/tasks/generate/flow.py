"""The path between images and noise, and what a velocity says about an image on it.

x_t = (1 - t) x + t e, with images x in [-1, 1], noise e ~ N(0, I) and times t from 0 (image) to 1 (noise). A network
predicts the velocity v = e - x, and images follow from noise by dx/dt = v (Lipman 2023, arXiv:2210.02747; Liu 2023,
arXiv:2209.03003). It is Gaussian diffusion on another scale: x_t / (1 - t) is an image with noise of standard
deviation sigma = t / (1 - t) (Karras 2022, arXiv:2206.00364).
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from skipway.errors import SkipwayError

NEARLY_PARALLEL = 1e-6  # sine of the angle between noises below which they have no great circle of their own

Velocity = Callable[[Tensor, Tensor], Tensor]
"""x (N, C, H, W), t (N,) -> v (N, C, H, W). `integrate` gives t on the CPU, the same for all rows, so that a velocity
can decide by its value without waiting for the device of x."""
VelocityNetwork = Callable[[Tensor, Tensor, Tensor], Tensor]
"""x (N, C, H, W), t (N,), labels int64 (N,), all on one device -> v (N, C, H, W): a network in evaluation mode, or an
engine of it."""


def interpolate(images: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """x_t of images and noise (N, C, H, W) at times t (N,)."""
    t = over_pixels(t)
    return (1 - t) * images + t * noise


def velocity_target(images: Tensor, noise: Tensor) -> Tensor:
    """The velocity that a network learns, dx_t/dt, the same at all times."""
    return noise - images


def denoised(x: Tensor, t: Tensor, v: Tensor) -> Tensor:
    """The mean of the images that x (N, C, H, W) may be a noisy version of, at times t (N,), from its velocity."""
    return x - over_pixels(t) * v


def logit_normal(normal: Tensor, mean: float, std: float) -> Tensor:
    """Times in (0, 1) from standard normal numbers: logit(t) = log(sigma) has the given mean and standard deviation
    (Karras 2022, sec. 5; Esser 2024, arXiv:2403.03206, sec. 3.1)."""
    return torch.sigmoid(mean + std * normal)


def time_of(sigma: float) -> float:
    """The time at which x_t / (1 - t) has noise of standard deviation `sigma`, in units of images in [-1, 1]."""
    return sigma / (1 + sigma)


def over_pixels(t: Tensor) -> Tensor:
    """(N,) as (N, 1, 1, 1)."""
    return t[:, None, None, None]


def with_noise(x: Tensor, time: float, after: float, noise: Tensor) -> Tensor:
    """x_after, a later time, from x_time: x with noise added, so that image and noise have their shares at `after`."""
    kept = (1 - after) / (1 - time)
    return kept * x + math.sqrt(after**2 - (kept * time) ** 2) * noise


def slerp(first: Tensor, last: Tensor, fractions: Sequence[float]) -> Tensor:
    """(n, ...): points on the great circle from `first` (fraction 0) to `last` (1), so that noises on the way are as
    long as noise is (White 2016, arXiv:1609.04468). Raises SkipwayError for opposite noises."""
    a, b = first.double(), last.double()
    cosine = float(functional.cosine_similarity(a.flatten(), b.flatten(), 0).clamp(-1, 1))
    angle = math.acos(cosine)
    weights = [(1 - fraction, fraction) for fraction in fractions]  # of equal or nearly equal noises
    if math.sin(angle) > NEARLY_PARALLEL:
        weights = [
            (math.sin((1 - f) * angle) / math.sin(angle), math.sin(f * angle) / math.sin(angle)) for f in fractions
        ]
    elif cosine < 0:
        raise SkipwayError("opposite noises have no single great circle between them: give others")
    return torch.stack([p * a + q * b for p, q in weights]).float()
