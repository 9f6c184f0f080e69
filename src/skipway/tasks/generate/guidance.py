"""Classifier-free guidance: images that show their class more clearly, at the cost of variety.

Ho, Salimans: Classifier-Free Diffusion Guidance. 2022, arXiv:2207.12598. Here w = 1 is no guidance, w - 1 in the paper.
Kynkäänniemi et al.: Applying Guidance in a Limited Interval. NeurIPS 2024, arXiv:2404.07724.
"""

import torch
from torch import Tensor

from skipway.tasks.generate.flow import Velocity, VelocityNetwork

SLACK = 1e-6  # of the ends of an interval: times are float32


def guided(net: VelocityNetwork, labels: Tensor, null: int, guidance: float, interval: tuple[float, float]) -> Velocity:
    """v_u + w (v_c - v_u) for images of `labels` int64 (N,), with v_u the velocity for the label `null`.

    guidance: w; 1 evaluates the labels alone, 0 the null class alone, any other both in one call of 2 N images, which
    is faster than two. interval: the times at which it applies, both included; elsewhere w = 1. The noise levels
    sigma_1 to sigma_2 are the interval (sigma_1 / (1 + sigma_1), sigma_2 / (1 + sigma_2)).
    """
    null_labels = torch.full_like(labels, null)
    both = torch.cat([null_labels, labels])

    def evaluated(x: Tensor, time: float, labels: Tensor) -> Tensor:
        return net(x, torch.full((len(x),), time, dtype=x.dtype, device=x.device), labels)

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        time = float(t[0])
        weight = weight_at(time, guidance, interval)
        if weight == 1:
            return evaluated(x, time, labels)
        if weight == 0:
            return evaluated(x, time, null_labels)
        unconditional, conditional = evaluated(torch.cat([x, x]), time, both).chunk(2)
        return unconditional + weight * (conditional - unconditional)

    return velocity


def weight_at(time: float, guidance: float, interval: tuple[float, float]) -> float:
    """w at `time`: `guidance` in the interval, 1 elsewhere."""
    low, high = interval
    return guidance if low - SLACK <= time <= high + SLACK else 1.0


def evaluations_at(time: float, guidance: float, interval: tuple[float, float]) -> int:
    """How often the network is evaluated for an image in an evaluation of `guided` at `time`."""
    return 1 if weight_at(time, guidance, interval) in (0, 1) else 2
