"""One training step, forward, backward and update: not every step waits for a GPU."""

import math
from contextlib import nullcontext
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_

from skipway.data.loader import Batch, derive_seed
from skipway.errors import SkipwayError
from skipway.tasks.batch_random import BatchRandom
from skipway.training.errors import NonFiniteError, make_nonfinite_error, names_in, out_of_memory
from skipway.training.lr_schedule import lr_multiplier
from skipway.training.optimiser import set_rate
from skipway.training.run_log import check_first_loss
from skipway.training.train_state import TrainRun, TrainState, is_finite, snapshot

READ_EVERY = {"cpu": 1}  # steps after which losses are read, by device; on others reading means waiting
READ_SELDOM = 32


def train_step(run: TrainRun, state: TrainState, batch: Batch, counted: bool) -> Tensor | None:
    """One update from this process's share of a batch.

    Returns the task's counts of the batch, still on the device; None where there are none, or `counted` is False.
    """
    set_rate(state.optimisers, rate_of(run, state))
    return take_step(run, state, batch, counted)


def rate_of(run: TrainRun, state: TrainState) -> float:
    """The learning rate of the next step, which parameter groups scale."""
    recipe = run.setup.recipe
    return recipe.peak_rate() * lr_multiplier(recipe, state.step / run.total)


def take_step(run: TrainRun, state: TrainState, batch: Batch, counted: bool) -> Tensor | None:
    """As `train_step`, at the rates that the optimisers have."""
    loss, counts = gradients(run, state, batch, counted)
    # before the update, so that on a CPU the weights are still those before the error
    keep_loss(run, state, loss)
    update_weights(run, state)
    finish_step(state)
    return counts


def keep_loss(run: TrainRun, state: TrainState, loss: Tensor) -> None:
    """Keep the loss of the step, and read it and those before it when they are due."""
    state.pending_losses.append(loss)
    if (state.step + 1) % READ_EVERY.get(run.hardware.device.type, READ_SELDOM) == 0:
        drain_losses(run, state)


def update_weights(run: TrainRun, state: TrainState) -> None:
    """Clip the gradients where the recipe asks for it, and update the weights from them."""
    if run.setup.recipe.clip:
        clip_grad_norm_(learning(state), run.setup.recipe.clip)
    for optimiser in state.optimisers:
        optimiser.step()


def finish_step(state: TrainState) -> None:
    """The average of the weights after a step, and the count of steps."""
    if state.averaged is not None:
        state.averaged.update_parameters(state.net)
    state.step += 1


def gradients(run: TrainRun, state: TrainState, batch: Batch, counted: bool) -> tuple[Tensor, Tensor | None]:
    """Gradients of the batch's mean loss in the network's parameters; returns that loss, detached, and the counts.

    When out of memory, half as many images are computed at once from then on.
    """
    count = len(batch.images)
    while True:
        try:
            return accumulate_gradients(run, state, batch, counted)
        except RuntimeError as error:
            at_once = min(state.micro or count, count)
            if not out_of_memory(error):
                raise
            if at_once == 1 or run.group.world > 1:
                raise SkipwayError(
                    f"out of memory with {at_once} images at once in a process: lower --micro, or --size, or --batch"
                ) from None
        state.net.zero_grad(set_to_none=True)
        if run.hardware.device.type == "cuda":
            torch.cuda.empty_cache()
        state.micro = at_once // 2
        print_micro_batch(count, state.micro, run.console)


def print_micro_batch(batch: int, micro: int, console: Console) -> None:
    console.print(
        f"out of memory: from now on {micro} images are computed at once, {-(-batch // micro)} times a step; "
        f"a step still has {batch} images, but batch norm is over {micro} at a time",
        soft_wrap=True,
    )


def accumulate_gradients(run: TrainRun, state: TrainState, batch: Batch, counted: bool) -> tuple[Tensor, Tensor | None]:
    """Like `gradients`, in parts of at most `state.micro` images; processes exchange gradients with the last part."""
    for optimiser in state.optimisers:
        optimiser.zero_grad(set_to_none=True)
    count, random = len(batch.images), random_for(run, state)
    at_once = state.micro or count
    if at_once >= count:
        return forward_backward(run, state, batch, counted, 1.0, random)
    parts, losses, counts = batch.split(at_once), [], []
    for number, part in enumerate(parts, 1):
        last, net = number == len(parts), state.data_parallel
        with nullcontext() if last or not isinstance(net, DistributedDataParallel) else net.no_sync():
            own = random.part(at_once * (number - 1), at_once * number)
            loss, part_counts = forward_backward(run, state, part, counted, len(part.images) / count, own)
        losses.append(loss)
        counts += [part_counts] if part_counts is not None else []
    return torch.stack(losses).sum(), torch.stack(counts).sum(0) if counts else None


def forward_backward(
    run: TrainRun, state: TrainState, batch: Batch, counted: bool, share: float, random: BatchRandom
) -> tuple[Tensor, Tensor | None]:
    """Forward and backward of `share` times the mean loss of `batch`, which is that share of the whole batch."""
    task = run.setup.task

    def forward(*inputs: Any) -> Any:
        with run.hardware.autocast():
            return state.forward(*inputs)

    losses, outputs = task.loss(forward, batch, random)
    loss = losses["loss"]
    if state.step == 0 and share == 1.0:
        chance = task.chance_loss(outputs, batch.targets)
        if chance is not None:
            check_first_loss(loss.item(), chance.item(), run.console)
    if run.setup.teacher:
        loss = run.setup.teacher.mixed_loss(task, loss, outputs, batch.images)
    with torch.no_grad():
        counts = task.counts(outputs, batch.targets) if counted else None
    loss = loss if share == 1.0 else loss * share
    loss.backward()
    return loss.detach(), counts


def learning(state: TrainState) -> list[nn.Parameter]:
    """The parameters that the optimisers update; searching the network for them would take longer than small steps."""
    return [p for optimiser in state.optimisers for group in optimiser.param_groups for p in group["params"]]


def random_for(run: TrainRun, state: TrainState) -> BatchRandom:
    """The random numbers of a task's loss, for this process's images of the step."""
    order = run.setup.batches.order
    return BatchRandom(derive_seed(order.seed, state.step), order.batch, order.share, run.hardware.device)


def drain_losses(run: TrainRun, state: TrainState) -> None:
    """Add the pending losses to the epoch's sum. Every process must call it after the same step.

    Raises NonFiniteError, with the state and the batch's names written for inspection, when one is NaN or infinite.
    """
    if not state.pending_losses:
        return
    losses = run.group.mean(torch.stack(state.pending_losses).tolist())
    first = len(state.records) * run.steps + state.sums.steps
    state.pending_losses.clear()
    for step, loss in enumerate(losses, first):
        if not math.isfinite(loss):
            raise nonfinite_error(run, state, "the loss", step, losses)
        state.sums.loss += loss
        state.sums.steps += 1
    state.recent_losses += losses


def nonfinite_error(run: TrainRun, state: TrainState, what: str, step: int, losses: list[float]) -> NonFiniteError:
    """The error of `what` at `step`; the first process writes the current state for inspection."""
    order, split = run.setup.batches.order, run.setup.dataset.train
    checkpoint = snapshot(run, state)
    written = checkpoint if run.group.rank == 0 else None
    return make_nonfinite_error(what, step, names_in(order, split, step), written, losses, run.out, run.setup.recipe.lr)


def check_finite(run: TrainRun, state: TrainState) -> None:
    """Raises NonFiniteError when a loss or a weight is NaN or infinite: such a state is never saved to resume from."""
    drain_losses(run, state)
    if not is_finite(run, state):
        raise nonfinite_error(run, state, "a weight", state.step - 1, [])
