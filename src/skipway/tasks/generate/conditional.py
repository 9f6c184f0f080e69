"""Images given a part of them, or a noisy version of them, by the velocity that a network learned without either."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from skipway.tasks.generate.flow import Velocity, with_noise
from skipway.tasks.generate.solvers import AfterStep, integrate, times_for


def inpainted(
    velocity: Velocity,
    x: Tensor,
    images: Tensor,
    known: Tensor,
    times: Sequence[float],
    solver: str,
    repeats: int,
    noise: Callable[[], Tensor],
    after_step: AfterStep,
) -> Tensor:
    """`images` where `known`, and elsewhere what the noise x at the first of `times` becomes at the last, 0.

    All are (N, C, H, W). Known pixels get new noise of its level before each step. Each step is made `repeats` times,
    with noise added in between to undo it (Lugmayr 2022, arXiv:2201.09865, alg. 1, with jumps of one step). noise: new
    standard normal numbers at each call.
    """
    for step, (time, after) in enumerate(pairwise(times)):
        for repeat in range(repeats):
            x = torch.where(known, (1 - time) * images + time * noise(), x)
            x = integrate(velocity, x, (time, after), solver)
            if repeat < repeats - 1:
                x = with_noise(x, after, time, noise())
        after_step(step, x)
    return torch.where(known, images, x)


def posterior_sample(velocity: Velocity, noisy: Tensor, times: Sequence[float], noise: Callable[[], Tensor]) -> Tensor:
    """Of the images (N, C, H, W) that `noisy` may be a version of, one at random for each.

    `noisy` has noise of the level t / (1 - t), t the first of `times`. In each step, `noisy` becomes a sample of its
    values at the next level, if its denoised image is the truth (Ho 2020, arXiv:2006.11239, eq. 7, with noise in units
    of the image): of first order, one evaluation. noise: new standard
    normal numbers at each call.
    """
    for time, after in pairwise(times):
        mean = denoised_mean(velocity, noisy, time)
        before, left = time / (1 - time), after / (1 - after)
        kept = (left / before) ** 2  # of the noise's variance
        noisy = mean + kept * (noisy - mean) + left * math.sqrt(1 - kept) * noise()
    return noisy


def denoised_mean(velocity: Velocity, noisy: Tensor, time: float) -> Tensor:
    """The mean of the images that `noisy` may be, whose noise has the level time / (1 - time)."""
    x = (1 - time) * noisy
    return x - time * velocity(x, times_for(x, time))
