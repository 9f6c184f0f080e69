"""Stochastic depth: in training, whole branches are left out at random, later ones more often.

Huang, Sun, Liu, Sedra, Weinberger: Deep Networks with Stochastic Depth. ECCV 2016, arXiv:1603.09382.

Departures from the paper:
- Each image of a batch draws for itself; the paper draws once for the batch.
- A branch that stays is divided by its chance to stay, in training; the paper multiplies by it in testing. Expected
  values are the same, and a trained network needs no rule for use.
"""

from torch import nn
from torchvision.ops import StochasticDepth

from skipway.models.contract import Network


def survival(unit: int, units: int, last: float) -> float:
    """The chance that unit number `unit` (from 1) of `units` stays: linear from 1 to `last` (equation 4)."""
    return 1 - unit / units * (1 - last)


def add_stochastic_depth(net: Network, last: float) -> None:
    """Give each residual unit of `net`, in order, its chance to stay; a net without residual units is left alone."""
    units = [unit for unit in net.modules() if isinstance(getattr(unit, "drop", None), nn.Module)]
    for number, unit in enumerate(units, 1):
        unit.drop = StochasticDepth(1 - survival(number, len(units), last), mode="row")
