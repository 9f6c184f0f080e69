"""Training, from a source and a recipe to a bundle."""

import copy
import time
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor

from skipway import bundle
from skipway.data.loader import derive, what_became_of_workers, workers_lost
from skipway.data.source import Source
from skipway.errors import BundleError, DataError, SkipwayError, first_line
from skipway.hardware import Hardware, keep_freed_memory
from skipway.training.account import make_card, print_plan
from skipway.training.attending import Attendants, attend, keep
from skipway.training.closing import close_epoch
from skipway.training.determinism import cost, determinism
from skipway.training.distributed import ALONE, Group
from skipway.training.faults import continuing, peer_lost
from skipway.training.fields import checked
from skipway.training.interrupt import noticing
from skipway.training.keeping import Keeper
from skipway.training.mixing import mixed, require_pairs
from skipway.training.optimiser import set_training_mode
from skipway.training.pace import Pace, plan_of
from skipway.training.prepare import prepare, require_steps
from skipway.training.recipes import Recipe
from skipway.training.state import Run, State, connect, fresh_state, marks_of, restore
from skipway.training.step import loss_of, one_step
from skipway.training.tracking import tracker
from skipway.training.upkeep import ORDINARY, Upkeep, write_begun
from skipway.training.watching import progress_line


def train(
    source: Source,
    recipe: Recipe,
    out: Path,
    hardware: Hardware,
    console: Console,
    resume: bool = False,
    upkeep: Upkeep = ORDINARY,
    group: Group = ALONE,
) -> Path:
    """Train `recipe.model` on `source` and leave a bundle in `out`, which is returned.

    The bundle holds the weights after the last step: val watches the run and chooses nothing, and test is not seen.
    With `resume`, an interrupted run in `out` goes on after the step of its newest whole checkpoint, with the same
    weights in the end as if it had not been interrupted. Every process of `group` must call it; the first one writes.

    Raises SkipwayError for input that cannot be trained on, a run that differs from the one resumed, or a loss that
    stops being a number; Interrupted, the state saved, when SIGINT or SIGTERM asked for an end.
    """
    recipe = checked(recipe)
    require_pairs(recipe, group.world)
    if hardware.device.type == "cpu":
        keep_freed_memory()
    if group.rank:
        console = Console(quiet=True)
    own = [torch.cuda.current_device()] if hardware.device.type == "cuda" else []
    writes = group.rank == 0
    folder = bundle.new_folder(out) if writes and not resume else nullcontext()
    with folder, torch.random.fork_rng(own), determinism(upkeep.deterministic):
        torch.manual_seed(derive(recipe.seed))
        prepared = prepare(source, recipe, hardware, console, group)
        marks = marks_of(source, prepared, group)
        run = Run(prepared, hardware, group, upkeep, require_steps(prepared), marks, out, console)
        if writes and not resume:
            write_begun(out, source, prepared.recipe, hardware, upkeep)
        state = fresh_state(run)
        if resume:
            restore(run, state)
        print_plan(prepared, hardware, run.total, group.world, console, upkeep.verbose)
        follow(run, state)
    if writes:
        write_bundle(run, state)
    return out


def write_bundle(run: Run, state: State) -> None:
    """The trained network. Raises BundleError where the disk has no room; the last checkpoint is there."""
    card = make_card(run.prepared, run.marks["data"], run.hardware, state.records)
    try:
        bundle.write(run.out, state.judged().state_dict(), card)
    except OSError as fault:
        why = f"{run.out} cannot be written ({fault.strerror})"
        raise BundleError(f"{why}: free some room, then {continuing(run.out)}") from None


def follow(run: Run, state: State) -> None:
    """`run_epochs`, and what is said of the faults of others: of data, other processes, and torch."""
    try:
        run_epochs(run, state)
    except DataError as fault:
        raise DataError(f"{fault}; to go on from step {state.step:,}: {continuing(run.out)}") from None
    except RuntimeError as fault:
        if workers_lost(fault):  # in the middle of a step, whose state is not one to go on from
            raise DataError(f"{what_became_of_workers(fault)}; to go on: {continuing(run.out)}") from None
        if run.group.world > 1 and peer_lost(fault):
            raise SkipwayError(f"another process is gone, at step {state.step:,}: {continuing(run.out)}") from None
        if "deterministic" in str(fault):
            raise SkipwayError(f"{first_line(fault)}: leave out --deterministic") from None
        raise


def run_epochs(run: Run, state: State) -> None:
    """Every epoch from where `state` stands to the end, its state kept on the way."""
    writes = run.group.rank == 0
    track = tracker(run.upkeep.track if writes else "none")
    pace = pace_of(run, state.step)
    with (
        noticing(doing=pace.doing) as stopping,
        Keeper(run.out, run.console, run.upkeep, writes) as keeper,
        track(run.out, run.marks["recipe"], state.step) as log,
        progress_line(run.console, run.hardware) as advance,
    ):
        around = Attendants(stopping, keeper, log, advance, pace)
        connect(run, state)
        if run.upkeep.deterministic:
            say_cost(run, state)
        try:
            while len(state.records) < pace.plan.epochs:
                train_epoch(run, state, around)
                close_epoch(run, state, around)
        except DataError:  # between two steps
            if run.group.world == 1:
                keep(run, state, keeper)
            raise
        if keeper.last != (len(state.records), state.step):
            keep(run, state, keeper)


def pace_of(run: Run, step: int) -> Pace:
    """The pace of `run` from `step` on."""
    prepared = run.prepared
    judged = len(prepared.validation.split) if prepared.validation else 0
    return Pace(plan_of(prepared.recipe, prepared.preprocessing.size, run.total, run.steps, judged), step)


def timed(batches: Iterator[tuple[Tensor, Tensor]]) -> Iterator[tuple[tuple[Tensor, Tensor], float]]:
    """Each batch with the seconds that it was waited for."""
    while True:
        start = time.perf_counter()
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch, time.perf_counter() - start


def train_epoch(run: Run, state: State, around: Attendants) -> None:
    """The steps of the present epoch that are still to be taken."""
    prepared, recipe, sums, epoch = run.prepared, run.prepared.recipe, state.sums, len(state.records)
    first, end = epoch * run.steps, min((epoch + 1) * run.steps, run.total)
    set_training_mode(state.net, recipe, only_classifier=recipe.only_head or epoch < recipe.freeze)
    if epoch == recipe.freeze and epoch:
        connect(run, state)
    mixes = bool(recipe.mixup or recipe.cutmix)
    began = time.perf_counter() - sums.seconds
    around.pace.begin_epoch()
    batches = islice(prepared.batches.epoch(epoch, state.step - first), end - state.step)
    for (images, targets), wait in timed(batches):
        images = run.hardware.place_images(images)
        if mixes:
            images, targets = mixed(images, targets, recipe, prepared.task.outputs)
        scores = one_step(run, state, images, targets)
        if not mixes:
            counts = prepared.task.tally(scores, targets)
            sums.tally = counts if sums.tally is None else sums.tally + counts
        sums.waited, sums.seconds = sums.waited + wait, time.perf_counter() - began
        attend(run, state, around)


def say_cost(run: Run, state: State) -> None:
    """What determinism costs a step here, measured on a copy of the network."""
    prepared, twin = run.prepared, copy.deepcopy(state.net)
    record, share = prepared.preprocessing, prepared.recipe.batch // run.group.world
    images = torch.zeros(share, record.channels, record.size, record.size)
    images = run.hardware.place_images(images)
    targets = torch.from_numpy(prepared.source.train.labels[:share]).to(run.hardware.device)

    def step() -> None:
        with run.hardware.autocast():
            outputs = twin(images)
        loss_of(prepared, outputs, targets).backward()

    ratio = cost(step, run.hardware.device)
    said = f"deterministic: forward and backward take {ratio:.2f} of their time without, measured just now"
    run.console.print(said, soft_wrap=True)
