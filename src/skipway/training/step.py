"""One step: a batch through the network, its gradients back, an update. Nothing here waits for a GPU in every step."""

import math
from contextlib import nullcontext

import torch
from rich.console import Console
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from skipway.errors import SkipwayError
from skipway.models.contract import Judged
from skipway.tasks.auxiliary import undecided
from skipway.training.account import check_first_loss
from skipway.training.faults import NotFinite, names_in, not_finite, out_of_memory
from skipway.training.optimiser import set_rate
from skipway.training.prepare import Prepared
from skipway.training.schedule import factor
from skipway.training.state import Run, State, is_sound, snapshot

LOOK = {"cpu": 1}  # steps after which losses are read, by device; elsewhere reading means waiting
SELDOM = 32


def one_step(run: Run, state: State, images: Tensor, targets: Tensor) -> Tensor:
    """One update from this process's share of a batch. Returns the main classifier's scores, still on the device."""
    recipe = run.prepared.recipe
    set_rate(state.optimisers, recipe.peak_rate() * factor(recipe, state.step / run.total))
    loss, scores = gradients(run, state, images, targets)
    state.unread.append(loss)
    if (state.step + 1) % LOOK.get(run.hardware.device.type, SELDOM) == 0:
        look(run, state)  # before the update, so that on a processor the weights are still those before the fault
    for optimiser in state.optimisers:
        optimiser.step()
    if state.averaged is not None:
        state.averaged.update_parameters(state.net)
    state.step += 1
    return scores


def gradients(run: Run, state: State, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the batch's mean loss in the network's parameters; returns that loss and the scores, detached.

    Where memory does not suffice, half as many images go through the network at once, from now on.
    """
    while True:
        try:
            return accumulated(run, state, images, targets)
        except RuntimeError as fault:
            at_once = min(state.micro or len(images), len(images))
            if not out_of_memory(fault):
                raise
            if at_once == 1 or run.group.world > 1:
                raise SkipwayError(
                    f"out of memory with {at_once} images at once in a process: lower --micro, or --size, or --batch"
                ) from None
        state.net.zero_grad(set_to_none=True)
        if run.hardware.device.type == "cuda":
            torch.cuda.empty_cache()
        state.micro = at_once // 2
        tell_of_halving(len(images), state.micro, run.console)


def tell_of_halving(batch: int, micro: int, console: Console) -> None:
    console.print(
        f"out of memory: from now on {micro} images go through the network at once, {-(-batch // micro)} times a step; "
        f"a step is still of {batch} images, but batch norm sees {micro} at a time",
        soft_wrap=True,
    )


def accumulated(run: Run, state: State, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """As `gradients`, in parts of at most `state.micro` images; processes exchange gradients with the last part."""
    state.net.zero_grad(set_to_none=True)
    at_once = state.micro or len(images)
    if at_once >= len(images):
        return through(run, state, images, targets, 1.0)
    parts = list(zip(images.split(at_once), targets.split(at_once), strict=True))
    losses, scores = [], []
    for number, (some, their) in enumerate(parts, 1):
        last, net = number == len(parts), state.shared
        with nullcontext() if last or not isinstance(net, DistributedDataParallel) else net.no_sync():
            loss, said = through(run, state, some, their, len(some) / len(images))
        losses.append(loss)
        scores.append(said)
    return torch.stack(losses).sum(), torch.cat(scores)


def through(run: Run, state: State, images: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Forward and back; `share` of the mean loss over `images`, which are that share of the batch, and their scores."""
    with run.hardware.autocast():
        outputs = state.forward(images)
    loss = loss_of(run.prepared, outputs, targets)
    if state.step == 0 and share == 1.0:
        even = loss_of(run.prepared, undecided(outputs), targets)
        check_first_loss(loss.item(), even.item(), run.console)
    loss = loss if share == 1.0 else loss * share
    loss.backward()
    return loss.detach(), (outputs.scores if isinstance(outputs, Judged) else outputs).detach()


def loss_of(prepared: Prepared, outputs: Tensor | Judged, targets: Tensor) -> Tensor:
    """The task's loss as the recipe has it."""
    return prepared.task.loss(outputs, targets, prepared.recipe.label_smoothing, prepared.weights)


def look(run: Run, state: State) -> None:
    """Read the losses since the last look into the epoch's sum. Every process must call it after the same step.

    Raises NotFinite, the state and the batch's names written for a look, when one is no number.
    """
    if not state.unread:
        return
    losses = run.group.mean(torch.stack(state.unread).tolist())
    first = len(state.records) * run.steps + state.sums.steps
    state.unread.clear()
    for step, loss in enumerate(losses, first):
        if not math.isfinite(loss):
            raise trouble(run, state, "the loss", step, losses)
        state.sums.loss += loss
        state.sums.steps += 1
    state.read += losses


def trouble(run: Run, state: State, what: str, step: int, losses: list[float]) -> NotFinite:
    """The fault of `what` at `step`; the first process writes the state as it is now for a look."""
    order, split = run.prepared.batches.order, run.prepared.source.train
    seen = snapshot(run, state)
    kept = seen if run.group.rank == 0 else None
    return not_finite(what, step, names_in(order, split, step), kept, losses, run.out, run.prepared.recipe.lr)


def require_sound(run: Run, state: State) -> None:
    """Raises NotFinite when a loss or a weight is no number: such a state is never saved as one to go on from."""
    look(run, state)
    if not is_sound(run, state):
        raise trouble(run, state, "a weight", state.step - 1, [])
