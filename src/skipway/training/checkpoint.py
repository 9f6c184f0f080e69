"""The state of a run between two steps, as tensors and plain values: nothing in it is ever unpickled.

No random state is among it: what a step draws follows from (seed, epoch, step), in the workers too, and from nothing
that ran before. Neither is a loss scaler: bfloat16 has the range of float32 and needs none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from skipway.errors import BundleError
from skipway.training.muon import ConvolutionMuon

NAME = "run.json"  # a run that can go on has it in its folder: see `upkeep.Begun`
SLOTS: dict[type[torch.optim.Optimizer], set[str]] = {  # what an optimiser remembers of a parameter
    torch.optim.SGD: {"momentum_buffer"},
    torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
    ConvolutionMuon: {"momentum_buffer"},
}


@dataclass(frozen=True)
class Checkpoint:
    """`tensors` by name; `state` holds the plain values: see `account.plain_state`."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def gather(
    net: nn.Module, optimisers: Sequence[torch.optim.Optimizer], averaged: nn.Module | None
) -> dict[str, Tensor]:
    """All tensors that the next step starts from, under prefixes "net.", "opt0." and so on, and "avg."."""
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    for number, optimiser in enumerate(optimisers):
        for place, slots in optimiser.state_dict()["state"].items():
            named = {f"opt{number}.{place}.{slot}": v for slot, v in slots.items() if v is not None}
            tensors |= {name: torch.as_tensor(v) for name, v in named.items()}
    if averaged is not None:
        tensors |= {f"avg.{k}": v for k, v in averaged.state_dict().items()}
    return tensors


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def put(module: nn.Module, values: dict[str, Tensor]) -> None:
    """Load `values` into `module`. Raises BundleError unless names, shapes and kinds of numbers are the module's."""
    own = module.state_dict()
    strange = [k for k in own.keys() | values.keys() if k not in own or k not in values]
    strange += [k for k in own.keys() & values.keys() if not alike(own[k], values[k])]
    if strange:
        raise BundleError(f"it is of another network ({min(strange)} differs, and {len(strange) - 1} more)")
    module.load_state_dict(values)


def alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


def slots_of(optimiser: torch.optim.Optimizer, values: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """What `optimiser` remembered, by parameter. Raises BundleError for what it could not have remembered."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in values.items():
        place, _, slot = key.partition(".")
        if not place.isdecimal() or not place.isascii() or int(place[:9]) >= len(parameters):
            raise BundleError(f"it is of another optimiser (it remembers {key})")
        parameter = parameters[int(place)]
        if slot != "step" and not alike(value, parameter):
            raise BundleError(f"it is of another optimiser ({key} has the shape {tuple(value.shape)})")
        if slot != "step":  # fused optimisers need the parameter's own memory layout
            value = torch.empty_like(parameter, requires_grad=False).copy_(value)
        slots.setdefault(int(place), {})[slot] = value
    expected = SLOTS[type(optimiser)]
    if any(found.keys() != expected or found.get("step", torch.zeros(())).shape for found in slots.values()):
        raise BundleError(f"it is of another optimiser (a parameter needs {', '.join(sorted(expected))})")
    return slots


def scatter(
    tensors: dict[str, Tensor],
    net: nn.Module,
    optimisers: Sequence[torch.optim.Optimizer],
    averaged: nn.Module | None,
) -> None:
    """Put what `gather` took back into the same places. Raises BundleError for what was taken from others."""
    put(net, part(tensors, "net."))
    if averaged is not None:
        put(averaged, part(tensors, "avg."))
    for number, optimiser in enumerate(optimisers):
        slots = slots_of(optimiser, part(tensors, f"opt{number}."))
        optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})


def all_finite(modules: Sequence[nn.Module]) -> bool:
    """Whether every number in the modules' state is finite; one wait for the device."""
    values = [v for module in modules for v in module.state_dict().values() if v.is_floating_point()]
    return bool(torch.stack([v.isfinite().all() for v in values]).all())
