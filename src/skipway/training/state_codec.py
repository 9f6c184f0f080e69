"""The state of a run between two steps, as tensors and plain values: nothing is unpickled.

It has no random state: what a step draws follows from (seed, epoch, step) alone, in the workers too. It has no loss
scaler either: bfloat16 has the range of float32 and needs none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from skipway.errors import BundleError
from skipway.training.muon import ConvolutionMuon

NAME = "run.json"  # in the folder of every run that can be resumed: see `run_manifest.RunManifest`
SLOTS: dict[type[torch.optim.Optimizer], set[str]] = {  # an optimiser's state of a parameter
    torch.optim.SGD: {"momentum_buffer"},
    torch.optim.AdamW: {"step", "exp_avg", "exp_avg_sq"},
    ConvolutionMuon: {"momentum_buffer"},
}


@dataclass(frozen=True)
class Checkpoint:
    """`tensors` by name; `state` holds the plain values: see `train_state.snapshot`."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def collect_state(
    net: nn.Module, optimisers: Sequence[torch.optim.Optimizer], averaged: nn.Module | None
) -> dict[str, Tensor]:
    """All tensors that the next step depends on, under prefixes "net.", "opt0." and so on, and "avg."."""
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


def load_strict(module: nn.Module, values: dict[str, Tensor]) -> None:
    """Load `values` into `module`. Raises BundleError unless names, shapes and dtypes are the module's."""
    own = module.state_dict()
    wrong = [k for k in own.keys() | values.keys() if k not in own or k not in values]
    wrong += [k for k in own.keys() & values.keys() if not same_layout(own[k], values[k])]
    if wrong:
        raise BundleError(f"it belongs to another network ({min(wrong)} differs, and {len(wrong) - 1} more)")
    module.load_state_dict(values)


def same_layout(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


def slots_of(optimiser: torch.optim.Optimizer, values: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """The state of `optimiser` by parameter. Raises BundleError for values that cannot be its state."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in values.items():
        place, _, slot = key.partition(".")
        if not place.isdecimal() or not place.isascii() or int(place[:9]) >= len(parameters):
            raise BundleError(f"it belongs to another optimiser (it has {key})")
        parameter = parameters[int(place)]
        if slot != "step" and not same_layout(value, parameter):
            raise BundleError(f"it belongs to another optimiser ({key} has the shape {tuple(value.shape)})")
        if slot != "step":  # fused optimisers need the parameter's own memory layout
            value = torch.empty_like(parameter, requires_grad=False).copy_(value)
        slots.setdefault(int(place), {})[slot] = value
    expected = SLOTS[type(optimiser)]
    if any(found.keys() != expected or found.get("step", torch.zeros(())).shape for found in slots.values()):
        raise BundleError(f"it belongs to another optimiser (a parameter needs {', '.join(sorted(expected))})")
    return slots


def restore_state(
    tensors: dict[str, Tensor],
    net: nn.Module,
    optimisers: Sequence[torch.optim.Optimizer],
    averaged: nn.Module | None,
) -> None:
    """Restore what `collect_state` returned. Raises BundleError for the state of other modules or optimisers."""
    load_strict(net, part(tensors, "net."))
    if averaged is not None:
        load_strict(averaged, part(tensors, "avg."))
    for number, optimiser in enumerate(optimisers):
        slots = slots_of(optimiser, part(tensors, f"opt{number}."))
        optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})


def all_finite(modules: Sequence[nn.Module]) -> bool:
    """Whether every number in the modules' state is finite, with one synchronisation of the device."""
    values = [v for module in modules for v in module.state_dict().values() if v.is_floating_point()]
    return bool(torch.stack([v.isfinite().all() for v in values]).all())
