"""What a run is made of: what stays the same, what changes, and how the second becomes a checkpoint and comes back."""

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from skipway.data.source import Source, fingerprint
from skipway.errors import BundleError, SkipwayError
from skipway.hardware import Hardware
from skipway.models.contract import Judged, Network
from skipway.training.account import commit, versions
from skipway.training.averaging import averaging
from skipway.training.checkpoint import Checkpoint, all_finite, gather, scatter
from skipway.training.distributed import Group, shared
from skipway.training.keeping import FOLDER, SCHEMA, newest, read
from skipway.training.norms import across_processes
from skipway.training.optimiser import optimisers
from skipway.training.prepare import Prepared
from skipway.training.upkeep import Upkeep, is_begun

MAY_CHANGE = ("lr", "micro", "recompute")  # recipe fields that a run may go on with other values of, which is said
TALLY = "sum.tally"


@dataclasses.dataclass(frozen=True)
class Run:
    """What stays the same during a run. `total`: its steps; `marks`: what a checkpoint must have in common with it."""

    prepared: Prepared
    hardware: Hardware
    group: Group
    upkeep: Upkeep
    total: int
    marks: dict[str, Any]
    out: Path
    console: Console

    @property
    def steps(self) -> int:
        """Steps in a whole epoch."""
        return self.prepared.batches.order.steps


@dataclasses.dataclass
class Sums:
    """Of the epoch under way. `loss` sums `steps` losses; `tally` is of this process's images, on the device."""

    loss: float = 0.0
    steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    tally: Tensor | None = None


@dataclasses.dataclass
class State:
    """What changes during a run.

    `shared` is the network as its gradients are averaged over processes, `forward` that, compiled where it pays;
    `micro`: the most images that go through it at once, 0: all; `unread`: losses that are still on the device;
    `read`: those that no tracker was told of; `spent`: seconds until `since`, a time of `time.perf_counter`.
    """

    net: Network
    shared: nn.Module
    forward: Callable[[Tensor], Tensor | Judged]
    optimisers: list[torch.optim.Optimizer]
    averaged: AveragedModel | None
    micro: int
    records: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    step: int = 0
    sums: Sums = dataclasses.field(default_factory=Sums)
    unread: list[Tensor] = dataclasses.field(default_factory=list)
    read: list[float] = dataclasses.field(default_factory=list)
    spent: float = 0.0
    since: float = dataclasses.field(default_factory=time.perf_counter)

    def judged(self) -> nn.Module:
        """The network whose accuracy counts: the averaged one where the recipe averages."""
        return self.averaged.module if self.averaged is not None else self.net

    def seconds(self) -> float:
        """How long the run has taken, all its parts together."""
        return self.spent + time.perf_counter() - self.since


def marks_of(source: Source, prepared: Prepared, group: Group) -> dict[str, Any]:
    """Recipe, data and network as they are written into checkpoints."""
    recipe, network = (json.loads(json.dumps(v)) for v in (dataclasses.asdict(prepared.recipe), prepared.network))
    data = group.told(fingerprint(source) if group.rank == 0 else "")
    return {"recipe": recipe, "data": data, "network": network}


def fresh_state(run: Run) -> State:
    """The state before the first step."""
    net, recipe = run.prepared.net, run.prepared.recipe
    if recipe.sync_norm and run.group.world > 1:
        across_processes(net, of_torch=run.hardware.device.type == "cuda" and not run.prepared.recomputed)
    averaged = None
    if recipe.average:
        averaged = AveragedModel(net, multi_avg_fn=averaging(recipe.average), use_buffers=True)
    return State(net, net, net, optimisers(net, recipe), averaged, recipe.micro)


def connect(run: Run, state: State) -> None:
    """Give `state` the network through which gradients are averaged; again when other parameters begin to learn."""
    state.shared = shared(state.net, run.hardware, run.group)
    compiled = run.hardware.compile_ and not run.prepared.recomputed
    state.forward = torch.compile(state.shared) if compiled else state.shared


def snapshot(run: Run, state: State) -> Checkpoint:
    """The state between two steps, not copied. Every process must call it."""
    tensors = gather(state.net, state.optimisers, state.averaged)
    if state.sums.tally is not None:
        tensors[TALLY] = run.group.summed(state.sums.tally)
    sums = {k: getattr(state.sums, k) for k in ("loss", "steps", "seconds", "waited")} | {"spent": state.seconds()}
    values = {"schema": SCHEMA, **run.marks, "step": state.step, "micro": state.micro, "sums": sums}
    return Checkpoint(tensors, values | {"records": state.records} | surroundings(run))


def surroundings(run: Run) -> dict[str, dict[str, str]]:
    """The code and the machine that compute."""
    return {"code": {"commit": commit(), **versions()}, "hardware": run.hardware.summary()}


def is_sound(run: Run, state: State) -> bool:
    """Whether all weights and statistics are finite, in every process."""
    modules: list[nn.Module] = [state.net] + ([state.averaged] if state.averaged is not None else [])
    return not run.group.agree(not all_finite(modules))[0]


def restore(run: Run, state: State) -> None:
    """Put the run's newest whole checkpoint into `state`; one killed before its first begins anew, which is said.

    Raises SkipwayError when it belongs to another recipe, other data or another network.
    """
    found = newest(run.out, run.console) if run.group.rank == 0 else None
    name = run.group.told(found[0].name if found else "")
    if not name:
        if not is_begun(run.out):
            raise BundleError(f"{run.out} has no checkpoint to resume from: start anew, without --resume")
        run.console.print(f"{run.out} has no checkpoint yet: the run begins anew", soft_wrap=True, markup=False)
        return
    saved = found[1] if found else read(run.out / FOLDER / name)
    try:
        require_same(run, saved.state)
        fill(run, state, saved)
    except BundleError as fault:
        raise BundleError(f"{run.out / FOLDER / name} does not fit this run: {fault}") from None
    where = f"resumed at step {state.step:,} of {run.total:,}, epoch {len(state.records) + 1}"
    run.console.print("; ".join([where, *changes(run, saved.state)]), soft_wrap=True, markup=False)


def require_same(run: Run, saved: dict[str, Any]) -> None:
    """Raises SkipwayError for another recipe, other data or another network than those of a checkpoint."""
    for what, new in run.marks.items():
        old = saved[what]
        if what == "data" and old != new:
            raise SkipwayError(f"{run.out} was begun with other data (another fingerprint): resume with the same")
        if what != "data":
            other = [k for k in old.keys() | new.keys() if k not in old or k not in new or old[k] != new[k]]
            other = [k for k in other if what == "network" or k not in MAY_CHANGE]
            if other:
                raise SkipwayError(
                    f"{run.out} was begun with another {what} ({', '.join(sorted(other))[:200]}): "
                    f"resume with the same, or start anew"
                )


def changes(run: Run, saved: dict[str, Any]) -> list[str]:
    """What is not as it was when the checkpoint was written, in words; code and machine are named, not refused."""
    said = []
    now = {
        "code": {"commit": commit(), **versions()},
        "hardware": run.hardware.summary(),
        "recipe": run.marks["recipe"],
    }
    for what, new in now.items():
        old = saved[what]
        said += [f"{what} {k}: {old.get(k)} before, {new[k]} now" for k in new if old.get(k) != new[k]]
    return said


def fill(run: Run, state: State, saved: Checkpoint) -> None:
    """`saved` into `state`. Raises BundleError where it cannot be of this run."""
    values, sums = saved.state, saved.state["sums"]
    done, step, steps = len(values["records"]), values["step"], run.steps
    if not done * steps <= step <= min((done + 1) * steps, run.total) or sums["steps"] > step:
        raise BundleError(f"step {step} is not in epoch {done + 1}")
    scatter(saved.tensors, state.net, state.optimisers, state.averaged)
    tally = saved.tensors.get(TALLY)
    if tally is not None:
        counted = tally.to(run.hardware.device)
        state.sums.tally = counted if run.group.rank == 0 else torch.zeros_like(counted)
    state.step, state.records, state.spent = step, values["records"], sums["spent"]
    state.sums.loss, state.sums.steps = sums["loss"], sums["steps"]
    state.sums.seconds, state.sums.waited = sums["seconds"], sums["waited"]
    same = values["recipe"].get("micro") == run.prepared.recipe.micro
    state.micro = values["micro"] if same else run.prepared.recipe.micro
