"""The constant and the changing state of a run, and their checkpoints."""

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

from skipway.data.dataset import Dataset
from skipway.errors import BundleError, SkipwayError
from skipway.hardware import Hardware
from skipway.models.base import Network
from skipway.training.checkpoint_manager import FOLDER, SCHEMA, newest, read
from skipway.training.distributed import Group, data_parallel
from skipway.training.optimiser import optimisers
from skipway.training.run_log import commit, versions
from skipway.training.run_manifest import RunOptions, has_manifest
from skipway.training.setup import TrainSetup
from skipway.training.state_codec import Checkpoint, all_finite, collect_state, restore_state
from skipway.training.sync_batchnorm import convert_sync_batchnorm
from skipway.training.weight_averaging import AveragedNetwork, averaging, power_averaging

# recipe fields that may differ on resuming, which is printed; of a teacher the place, but not the weights
MAY_CHANGE = ("lr", "micro", "recompute", "teacher")
TALLY = "sum.tally"


@dataclasses.dataclass(frozen=True)
class TrainRun:
    """What is constant during a run. `total`: its steps; `identity`: what all its checkpoints must agree on."""

    setup: TrainSetup
    hardware: Hardware
    group: Group
    options: RunOptions
    total: int
    identity: dict[str, Any]
    out: Path
    console: Console

    @property
    def steps(self) -> int:
        """Steps in a whole epoch."""
        return self.setup.batches.order.steps


@dataclasses.dataclass
class EpochMeters:
    """Sums over the current epoch. `loss` sums `steps` losses; `tally` is of this process's images, on the device."""

    loss: float = 0.0
    steps: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    tally: Tensor | None = None


@dataclasses.dataclass
class TrainState:
    """What changes during a run.

    `data_parallel` is the network as its gradients are averaged over processes, `forward` the same, compiled if chosen;
    `micro`: the largest number of images computed at once, 0: all; `pending_losses`: losses still on the device;
    `recent_losses`: those not yet sent to a tracker; `spent`: seconds until `since`, a time of `time.perf_counter`.
    """

    net: Network
    data_parallel: nn.Module
    forward: Callable[..., Any]
    optimisers: list[torch.optim.Optimizer]
    averaged: AveragedModel | None
    micro: int
    records: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    step: int = 0
    sums: EpochMeters = dataclasses.field(default_factory=EpochMeters)
    pending_losses: list[Tensor] = dataclasses.field(default_factory=list)
    recent_losses: list[float] = dataclasses.field(default_factory=list)
    spent: float = 0.0
    since: float = dataclasses.field(default_factory=time.perf_counter)

    def eval_model(self) -> nn.Module:
        """The network whose accuracy counts: the averaged one where the recipe averages."""
        return self.averaged.module if self.averaged is not None else self.net

    def seconds(self) -> float:
        """How long the run has taken, including the time before it was resumed."""
        return self.spent + time.perf_counter() - self.since


def run_identity(dataset: Dataset, setup: TrainSetup, group: Group) -> dict[str, Any]:
    """Recipe, data and network as they are written into checkpoints."""
    recipe, network = (json.loads(json.dumps(v)) for v in (dataclasses.asdict(setup.recipe), setup.network))
    data = group.broadcast(dataset.fingerprint if group.rank == 0 else "")
    teacher = {"teacher": {"weights": setup.teacher.origin["weights_sha256"]}} if setup.teacher else {}
    return {"recipe": recipe, "data": data, "network": network, **teacher}


def fresh_state(run: TrainRun) -> TrainState:
    """The state before the first step."""
    net, recipe = run.setup.net, run.setup.recipe
    if recipe.sync_norm and run.group.world > 1:
        convert_sync_batchnorm(net, of_torch=run.hardware.device.type == "cuda" and not run.setup.recomputed)
    averaged = None
    update = power_averaging(recipe.average_width) if recipe.average_width else averaging(recipe.average)
    if recipe.average or recipe.average_width:
        averaged = AveragedNetwork(net, update)
    return TrainState(net, net, net, optimisers(net, recipe), averaged, recipe.micro)


def wrap_model(run: TrainRun, state: TrainState) -> None:
    """Give `state` the network through which gradients are averaged; again when other parameters start to learn."""
    state.data_parallel = data_parallel(state.net, run.hardware, run.group)
    compiled = run.hardware.compile_ and not run.setup.recomputed
    state.forward = torch.compile(state.data_parallel) if compiled else state.data_parallel


def snapshot(run: TrainRun, state: TrainState) -> Checkpoint:
    """The state between two steps, not copied. Every process must call it."""
    tensors = collect_state(state.net, state.optimisers, state.averaged)
    if state.sums.tally is not None:
        tensors[TALLY] = run.group.all_reduce(state.sums.tally)
    sums = {k: getattr(state.sums, k) for k in ("loss", "steps", "seconds", "waited")} | {"spent": state.seconds()}
    values = {"schema": SCHEMA, **run.identity, "step": state.step, "micro": state.micro, "sums": sums}
    return Checkpoint(tensors, values | {"records": state.records} | environment(run))


def environment(run: TrainRun) -> dict[str, dict[str, str]]:
    """The code and the machine of the run."""
    return {"code": {"commit": commit(), **versions()}, "hardware": run.hardware.summary()}


def is_finite(run: TrainRun, state: TrainState) -> bool:
    """Whether all weights and statistics are finite, in every process."""
    modules: list[nn.Module] = [state.net] + ([state.averaged] if state.averaged is not None else [])
    return not run.group.any_rank(not all_finite(modules))[0]


def restore(run: TrainRun, state: TrainState) -> None:
    """Load the run's newest intact checkpoint into `state`; a run without one starts from the beginning.

    Raises SkipwayError when it belongs to another recipe, other data or another network.
    """
    found = newest(run.out, run.console) if run.group.rank == 0 else None
    name = run.group.broadcast(found[0].name if found else "")
    if not name:
        if not has_manifest(run.out):
            raise BundleError(f"{run.out} has no checkpoint to resume from: start a new run, without --resume")
        text = f"{run.out} has no checkpoint yet: the run starts from the beginning"
        run.console.print(text, soft_wrap=True, markup=False)
        return
    saved = found[1] if found else read(run.out / FOLDER / name)
    try:
        require_same(run, saved.state)
        load_checkpoint(run, state, saved)
    except BundleError as error:
        raise BundleError(f"{run.out / FOLDER / name} does not fit this run: {error}") from None
    where = f"resumed at step {state.step:,} of {run.total:,}, epoch {len(state.records) + 1}"
    run.console.print("; ".join([where, *changes(run, saved.state)]), soft_wrap=True, markup=False)


def require_same(run: TrainRun, saved: dict[str, Any]) -> None:
    """Raises SkipwayError for another recipe, other data or another network than those of a checkpoint."""
    for what, new in run.identity.items():
        old = saved.get(what, {})
        if what == "data" and old != new:
            raise SkipwayError(f"{run.out} was started with other data (another fingerprint): resume with the same")
        if what != "data":
            other = [k for k in old.keys() | new.keys() if k not in old or k not in new or old[k] != new[k]]
            other = [k for k in other if what == "network" or k not in MAY_CHANGE]
            if other:
                raise SkipwayError(
                    f"{run.out} was started with another {what} ({', '.join(sorted(other))[:200]}): "
                    f"resume with the same, or start a new run"
                )


def changes(run: TrainRun, saved: dict[str, Any]) -> list[str]:
    """What differs from when the checkpoint was written, as text; changes of code and machine are allowed."""
    found = []
    now = {
        "code": {"commit": commit(), **versions()},
        "hardware": run.hardware.summary(),
        "recipe": run.identity["recipe"],
    }
    for what, new in now.items():
        old = saved[what]
        found += [f"{what} {k}: {old.get(k)} before, {new[k]} now" for k in new if old.get(k) != new[k]]
    return found


def load_checkpoint(run: TrainRun, state: TrainState, saved: Checkpoint) -> None:
    """Load `saved` into `state`. Raises BundleError where it does not fit this run."""
    values, sums = saved.state, saved.state["sums"]
    done, step, steps = len(values["records"]), values["step"], run.steps
    if not done * steps <= step <= min((done + 1) * steps, run.total) or sums["steps"] > step:
        raise BundleError(f"step {step} is not in epoch {done + 1}")
    restore_state(saved.tensors, state.net, state.optimisers, state.averaged)
    tally = saved.tensors.get(TALLY)
    if tally is not None:
        counts = tally.to(run.hardware.device)
        state.sums.tally = counts if run.group.rank == 0 else torch.zeros_like(counts)
    state.step, state.records, state.spent = step, values["records"], sums["spent"]
    state.sums.loss, state.sums.steps = sums["loss"], sums["steps"]
    state.sums.seconds, state.sums.waited = sums["seconds"], sums["waited"]
    same = values["recipe"].get("micro") == run.setup.recipe.micro
    state.micro = values["micro"] if same else run.setup.recipe.micro
