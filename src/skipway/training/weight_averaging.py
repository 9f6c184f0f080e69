"""Exponential and power-function moving averages of weights, for runs of any length.

A fixed decay of 0.999 gives the first of 100 steps 91 % of the average. So the decay starts low and rises with the
steps, min(decay, (1 + t) / (10 + t)) after t updates, as TensorFlow's ExponentialMovingAverage has it (`num_updates`):
the average then never reaches back further than about a tenth of the steps taken.

The power function (Karras 2024, arXiv:2312.02696, sec. 3.1) has no fixed decay: its width is always the same share of
the steps taken, so that one setting suits every length.
"""

import math
from collections.abc import Callable, Sequence
from itertools import chain

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

Update = Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]


class AveragedNetwork(AveragedModel):
    """torch's AveragedModel of a network's parameters and buffers, which are looked up once.

    For a network of many small layers the search takes as long as the update. The network must keep its tensors, as
    optimisers also demand.
    """

    def __init__(self, net: nn.Module, update: Update) -> None:
        super().__init__(net, multi_avg_fn=update, use_buffers=True)
        self.update = update
        self.of: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
        ours, theirs = ([*chain(module.parameters(), module.buffers())] for module in (self.module, net))
        for average, current in zip(ours, theirs, strict=True):
            pair = self.of.setdefault(average.dtype, ([], []))
            pair[0].append(average.detach())
            pair[1].append(current.detach())

    def update_parameters(self, model: nn.Module) -> None:
        """The average after another step of the network that it was made for; the first copies it."""
        for averages, currents in self.of.values():
            if self.n_averaged == 0:
                torch._foreach_copy_(averages, currents)
            else:
                self.update(averages, currents, self.n_averaged)
        self.n_averaged += 1


def decay_after(updates: int, decay: float) -> float:
    """The decay of the update that follows `updates` others, the first of which copied the weights."""
    return min(decay, (1 + updates) / (10 + updates))


def relative_width(exponent: float) -> float:
    """The standard deviation of the weights t^exponent over the steps t, as a share of the run's length."""
    return math.sqrt((exponent + 1) / (exponent + 3)) / (exponent + 2)


def exponent_of(width: float) -> float:
    """The exponent of the power function whose relative width is `width`, between 0 and 1 / sqrt(12)."""
    low, high = 0.0, 1 / width  # the width falls as the exponent grows, and is below 1 / exponent
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if relative_width(middle) > width else (low, middle)
    return (low + high) / 2


def averaging(decay: float) -> Update:
    """`multi_avg_fn` of torch's AveragedModel, for tensors of one dtype: the average moves towards the weights."""
    return update_with(lambda updates: decay_after(updates, decay))


def power_averaging(width: float) -> Update:
    """Likewise with the power function: after n steps the decay is (1 - 1/n)^(exponent + 1)."""
    exponent = exponent_of(width)
    return update_with(lambda updates: (1 - 1 / (updates + 1)) ** (exponent + 1))


def update_with(decay_of: Callable[[int], float]) -> Update:
    """The update whose decay follows from the number of updates before it."""

    @torch.no_grad()
    def update(averaged: Sequence[Tensor], current: Sequence[Tensor], updates: Tensor | int) -> None:
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(list(averaged), list(current), 1 - decay_of(int(updates)))
        else:  # the number of batches in a normalisation
            for average, now in zip(averaged, current, strict=True):
                average.copy_(now)

    return update
