"""Training, from a source and a recipe to a bundle."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.transforms.v2 import CutMix, MixUp, RandomChoice

from skipway import bundle
from skipway.data.loader import derive
from skipway.data.source import Source, fingerprint
from skipway.errors import SkipwayError
from skipway.hardware import Hardware, keep_freed_memory
from skipway.models.contract import Judged, Network
from skipway.tasks.auxiliary import undecided
from skipway.training.account import check_first_loss, describe, make_card, print_plan, write_records
from skipway.training.checkpoint import Checkpoint, gather, read_checkpoint, scatter, write_checkpoint
from skipway.training.fields import checked
from skipway.training.optimiser import optimisers, set_rate, set_training_mode
from skipway.training.prepare import Prepared, prepare, require_steps
from skipway.training.recipes import Recipe
from skipway.training.schedule import factor

Mix = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclasses.dataclass
class State:
    """What changes during a run. `forward` is the network, compiled where that pays."""

    net: Network
    forward: Callable[[Tensor], Tensor | Judged]
    optimisers: list[torch.optim.Optimizer]
    averaged: AveragedModel | None
    records: list[dict[str, Any]]
    step: int = 0

    def judged(self) -> nn.Module:
        """The network whose accuracy counts: the averaged one where the recipe averages."""
        return self.averaged.module if self.averaged is not None else self.net


def train(
    source: Source, recipe: Recipe, out: Path, hardware: Hardware, console: Console, resume: bool = False
) -> Path:
    """Train `recipe.model` on `source` and leave a bundle in `out`, which is returned.

    The bundle holds the weights after the last step: val watches the run and chooses nothing, and test is not seen.
    With `resume`, an interrupted run in `out` goes on after its last whole epoch. Raises SkipwayError for input that
    cannot be trained on, a run that differs from the one resumed, or a loss that stops being a number.
    """
    recipe = checked(recipe)
    if hardware.device.type == "cpu":
        keep_freed_memory()
    own = [torch.cuda.current_device()] if hardware.device.type == "cuda" else []
    with nullcontext() if resume else bundle.new_folder(out), torch.random.fork_rng(own):
        torch.manual_seed(derive(recipe.seed))
        prepared = prepare(source, recipe, hardware, console)
        state = fresh_state(prepared, hardware)
        values = json.loads(json.dumps(dataclasses.asdict(prepared.recipe)))
        marks = {"recipe": values, "data": fingerprint(source)}
        if resume:
            restore(state, read_checkpoint(out), marks, out)
        total = require_steps(prepared)
        print_plan(prepared, hardware, total, console)
        run_epochs(prepared, state, hardware, total, marks, out, console)
    card = make_card(prepared, marks["data"], hardware, state.records)
    bundle.write(out, state.judged().state_dict(), card)
    return out


def run_epochs(
    prepared: Prepared,
    state: State,
    hardware: Hardware,
    total: int,
    marks: dict[str, Any],
    out: Path,
    console: Console,
) -> None:
    """Every epoch from where `state` stands: train, write the checkpoint and the record, say how it went."""
    began = time.perf_counter()
    spent = state.records[-1]["seconds"] if state.records else 0.0
    for epoch in range(len(state.records), math.ceil(total / prepared.batches.order.steps)):
        record = one_epoch(prepared, state, hardware, epoch, total, console)
        record["seconds"] = round(spent + time.perf_counter() - began, 2)
        state.records.append(record)
        tensors = gather(state.net, state.optimisers, state.averaged)
        write_checkpoint(out, Checkpoint(tensors, {**marks, "step": state.step, "records": state.records}))
        write_records(out, state.records)
        console.print(describe(record), soft_wrap=True)


def fresh_state(prepared: Prepared, hardware: Hardware) -> State:
    """The state before the first step."""
    net, recipe = prepared.net, prepared.recipe
    averaged = None
    if recipe.average:
        averaged = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(recipe.average), use_buffers=True)
    forward = torch.compile(net) if hardware.compile_ and not prepared.recomputed else net
    return State(net, forward, optimisers(net, recipe), averaged, [])


def restore(state: State, saved: Checkpoint, marks: dict[str, Any], out: Path) -> None:
    """Put a checkpoint into `state`. Raises SkipwayError when it belongs to another recipe or other data."""
    for what in ("recipe", "data"):
        if saved.state[what] != marks[what]:
            old, new = saved.state[what], marks[what]
            detail = ", ".join(k for k in new if old.get(k) != new[k]) if what == "recipe" else "another fingerprint"
            raise SkipwayError(f"{out} was begun with another {what} ({detail}): resume with the same, or start anew")
    scatter(saved.tensors, state.net, state.optimisers, state.averaged)
    state.step, state.records = saved.state["step"], saved.state["records"]


def mixing(recipe: Recipe, classes: int) -> Mix | None:
    """Mixup, cutmix, or one of the two at random for each batch."""
    choices: list[nn.Module] = []
    if recipe.mixup:
        choices.append(MixUp(alpha=recipe.mixup, num_classes=classes))
    if recipe.cutmix:
        choices.append(CutMix(alpha=recipe.cutmix, num_classes=classes))
    return RandomChoice(choices) if len(choices) > 1 else choices[0] if choices else None


def timed(batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[tuple[Tensor, Tensor], float]]:
    """Each batch with the seconds that it was waited for."""
    while True:
        start = time.perf_counter()
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch, time.perf_counter() - start


def one_epoch(
    prepared: Prepared, state: State, hardware: Hardware, epoch: int, total: int, console: Console
) -> dict[str, Any]:
    """Train for one epoch, or to the run's last step; returns its record. Raises SkipwayError on a non-finite loss."""
    recipe, steps = prepared.recipe, min(prepared.batches.order.steps, total - state.step)
    set_training_mode(state.net, recipe, only_classifier=epoch < recipe.freeze)
    mix = mixing(recipe, prepared.task.outputs)
    losses = torch.zeros((), device=hardware.device)  # sums are read once an epoch, so that no step waits for them
    tally: Tensor | None = None
    start, waited = time.perf_counter(), 0.0
    bar_columns = (TextColumn("epoch {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*bar_columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(str(epoch + 1), total=steps)
        for (images, targets), wait in timed(islice(prepared.batches.epoch(epoch), steps)):
            waited += wait
            rate = recipe.peak_rate() * factor(recipe, state.step / total)
            set_rate(state.optimisers, rate)
            images = hardware.place_images(images)
            if mix:
                images, targets = mix(images, targets)
            loss, scores = one_step(prepared, state, hardware, images, targets, console)
            losses += loss
            if not mix:
                counts = prepared.task.tally(scores, targets)
                tally = counts if tally is None else tally + counts
            progress.advance(bar)
    mean_loss = losses.item() / steps
    seconds = time.perf_counter() - start
    if not math.isfinite(mean_loss):
        raise SkipwayError(f"the loss was no longer a number in epoch {epoch + 1}: lower --lr (now {recipe.lr:g})")
    record = {"epoch": epoch + 1, "step": state.step, "rate": rate, "train_loss": mean_loss}
    if tally is not None:
        record |= {f"train_{k}": v for k, v in prepared.task.read(tally).items()}
    record |= {"images_per_second": round(steps * recipe.batch / seconds, 1), "waiting": round(waited / seconds, 4)}
    return record | {f"val_{k}": v for k, v in validate(prepared, state.judged(), hardware).items()}


def one_step(
    prepared: Prepared, state: State, hardware: Hardware, images: Tensor, targets: Tensor, console: Console
) -> tuple[Tensor, Tensor]:
    """One update from one batch. Returns the loss and the main classifier's scores, both still on the device."""
    with hardware.autocast():
        outputs = state.forward(images)
    loss = loss_of(prepared, outputs, targets)
    state.net.zero_grad(set_to_none=True)
    loss.backward()
    for optimiser in state.optimisers:
        optimiser.step()
    if state.averaged is not None:
        state.averaged.update_parameters(state.net)
    if state.step == 0:
        check_first_loss(loss.item(), loss_of(prepared, undecided(outputs), targets).item(), console)
    state.step += 1
    return loss.detach(), (outputs.scores if isinstance(outputs, Judged) else outputs).detach()


def loss_of(prepared: Prepared, outputs: Tensor | Judged, targets: Tensor) -> Tensor:
    """The task's loss as the recipe has it."""
    return prepared.task.loss(outputs, targets, prepared.recipe.label_smoothing, prepared.weights)


@torch.inference_mode()
def validate(prepared: Prepared, net: nn.Module, hardware: Hardware) -> dict[str, float]:
    """The task's figures on val in the run's own precision; nothing where there is no val."""
    if prepared.validation is None:
        return {}
    net.eval()
    scores = []
    for images in prepared.validation.batches():
        images = prepared.preprocessing.normalised(images.to(hardware.device))
        with hardware.autocast():
            scores.append(net(hardware.place_images(images)).float().cpu())
    return prepared.task.meter(torch.cat(scores), prepared.validation.targets())
