"""The state of a run after an epoch, on disk as tensors and JSON: nothing in it is ever unpickled."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from skipway.bundle import write_atomically
from skipway.errors import BundleError

NAME = "checkpoints/last.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """`tensors` by name; `state` holds the plain values: epoch done, recipe, records, fingerprint of the data."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


def gather(net: nn.Module, optimisers: list[torch.optim.Optimizer], averaged: nn.Module | None) -> dict[str, Tensor]:
    """All tensors that the next epoch starts from, under prefixes "net.", "opt0." and so on, and "avg."."""
    tensors = {f"net.{k}": v for k, v in net.state_dict().items()}
    for number, optimiser in enumerate(optimisers):
        for place, slots in optimiser.state_dict()["state"].items():
            named = {f"opt{number}.{place}.{slot}": v for slot, v in slots.items() if v is not None}
            tensors |= {name: torch.as_tensor(v) for name, v in named.items()}
    if averaged is not None:
        tensors |= {f"avg.{k}": v for k, v in averaged.state_dict().items()}
    return tensors


def scatter(
    tensors: dict[str, Tensor],
    net: nn.Module,
    optimisers: list[torch.optim.Optimizer],
    averaged: nn.Module | None,
) -> None:
    """Put what `gather` took back into the same places."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    net.load_state_dict(part("net."))
    if averaged is not None:
        averaged.load_state_dict(part("avg."))
    for number, optimiser in enumerate(optimisers):
        slots: dict[int, dict[str, Tensor]] = {}
        parameters = [p for group in optimiser.param_groups for p in group["params"]]
        for key, value in part(f"opt{number}.").items():
            place, slot = key.split(".", 1)
            if value.shape == parameters[int(place)].shape:  # fused optimisers need the parameter's own memory layout
                value = torch.empty_like(parameters[int(place)], dtype=value.dtype).copy_(value)
            slots.setdefault(int(place), {})[slot] = value
        optimiser.load_state_dict({"state": slots, "param_groups": optimiser.state_dict()["param_groups"]})


def write_checkpoint(run: Path, checkpoint: Checkpoint) -> None:
    """Replace the run's checkpoint; a crash leaves the old one or the new one, whole."""
    file = run / NAME
    file.parent.mkdir(exist_ok=True)
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in checkpoint.tensors.items()}
    write_atomically(file, save(tensors, metadata={"state": json.dumps(checkpoint.state)}))


def read_checkpoint(run: Path) -> Checkpoint:
    """The run's checkpoint. Raises BundleError when there is none or it is damaged."""
    file = run / NAME
    if not file.is_file():
        raise BundleError(f"{run} has no checkpoint to resume from ({NAME}): start anew without --resume")
    try:
        with safe_open(file, framework="pt") as opened:
            state = json.loads((opened.metadata() or {})["state"])
            return Checkpoint({key: opened.get_tensor(key) for key in opened.keys()}, state)  # noqa: SIM118
    except (SafetensorError, KeyError, ValueError) as fault:
        raise BundleError(f"{file} is damaged ({fault}): the run cannot continue; start anew") from None
