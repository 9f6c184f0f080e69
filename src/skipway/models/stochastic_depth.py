"""Stochastic depth: in training, residual branches are dropped at random, later ones more often.

Huang, Sun, Liu, Sedra, Weinberger: Deep Networks with Stochastic Depth. ECCV 2016, arXiv:1603.09382.

Differences from the paper:
- Branches are dropped per image; the paper drops them per batch.
- A branch that is kept is divided by its survival probability in training; the paper multiplies by it in testing.
  Expected values are the same, and a trained network needs no special treatment.
- A gated unit (highway, exclusive gating) whose branch is dropped keeps the gate on the shortcut.
"""

from typing import Protocol, runtime_checkable

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from skipway.models.base import Network


@runtime_checkable
class ResidualUnit(Protocol):
    """A residual unit: `forward` is the sum of `skip` and `branch`, and `drop` is the end of the branch."""

    drop: nn.Module

    def skip(self, x: Tensor) -> Tensor: ...

    def branch(self, x: Tensor) -> Tensor: ...


def survival(unit: int, units: int, last: float) -> float:
    """The survival probability of unit `unit` (from 1) of `units`: linear from 1 to `last` (equation 4)."""
    return 1 - unit / units * (1 - last)


def add_stochastic_depth(net: Network, last: float) -> int:
    """Set the survival probability of each residual unit of `net`, in order; returns the number of units."""
    units = [unit for unit in net.modules() if isinstance(unit, ResidualUnit)]
    for number, unit in enumerate(units, 1):
        unit.drop = StochasticDepth(1 - survival(number, len(units), last), mode="row")
    return len(units)
