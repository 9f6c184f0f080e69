"""The exponential moving average of weights, with a warm-up for short runs.

A decay of 0.999 gives the first of 100 steps 91 % of the average. So the decay starts low and rises with the steps,
min(decay, (1 + t) / (10 + t)) after t updates, as TensorFlow's ExponentialMovingAverage has it (`num_updates`): the
average then never reaches back further than about a tenth of the steps taken.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Update = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]


def decay_after(updates: int, decay: float) -> float:
    """The decay of the update that follows `updates` others, the first of which copied the weights."""
    return min(decay, (1 + updates) / (10 + updates))


def averaging(decay: float) -> Update:
    """`multi_avg_fn` of torch's AveragedModel, for tensors of one dtype: the average moves towards the weights."""

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(list(averaged), list(current), 1 - decay_after(int(updates), decay))
        else:  # the number of batches in a normalisation
            for average, now in zip(averaged, current, strict=True):
                average.copy_(now)

    return update
