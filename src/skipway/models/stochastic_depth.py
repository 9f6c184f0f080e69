"""Stochastic depth: in training, whole branches are left out at random, later ones more often.

Huang, Sun, Liu, Sedra, Weinberger: Deep Networks with Stochastic Depth. ECCV 2016, arXiv:1603.09382.

Departures from the paper:
- Each image of a batch draws for itself; the paper draws once for the batch.
- A branch that stays is divided by its chance to stay, in training; the paper multiplies by it in testing. Expected
  values are the same, and a trained network needs no rule for use.
- A gated unit (highway, exclusive gating) that is left out keeps its gate on the shortcut.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from skipway.models.contract import Network


@runtime_checkable
class ResidualUnit(Protocol):
    """The units of every paper here: `forward` is the sum of the two, `drop` the end of the branch."""

    drop: nn.Module

    def skip(self, x: Tensor) -> Tensor: ...

    def branch(self, x: Tensor) -> Tensor: ...


def survival(unit: int, units: int, last: float) -> float:
    """The chance that unit number `unit` (from 1) of `units` stays: linear from 1 to `last` (equation 4)."""
    return 1 - unit / units * (1 - last)


def add_stochastic_depth(net: Network, last: float) -> int:
    """Give each residual unit of `net`, in order, its chance to stay; returns how many there are."""
    units = [unit for unit in net.modules() if isinstance(unit, ResidualUnit)]
    for number, unit in enumerate(units, 1):
        unit.drop = StochasticDepth(1 - survival(number, len(units), last), mode="row")
    return len(units)
