"""The training loop, from a data set and a recipe to a bundle."""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from skipway import bundle
from skipway.data.dataset import Dataset
from skipway.data.loader import Batch, derive_seed, worker_exit_reason, workers_lost
from skipway.errors import BundleError, DataError, SkipwayError, first_line
from skipway.hardware import Hardware, keep_freed_memory
from skipway.training.checkpoint_manager import CheckpointManager
from skipway.training.cuda_graphs import StepGraphs, step_graphs
from skipway.training.determinism import determinism
from skipway.training.distributed import SINGLE_PROCESS, Group
from skipway.training.early_stopping import keep_best, kept_epoch, patience_is_over
from skipway.training.errors import peer_lost, resume_command
from skipway.training.hooks import Hooks, after_step, save_checkpoint
from skipway.training.loggers import tracker
from skipway.training.mixup import mix_batch, require_even_share
from skipway.training.optimiser import is_first_of_more, set_epoch_mode
from skipway.training.progress import progress_line
from skipway.training.recipe_fields import validate_recipe
from skipway.training.recipes import Recipe
from skipway.training.run_log import make_card, print_plan
from skipway.training.run_manifest import DEFAULT_OPTIONS, RunOptions, write_manifest
from skipway.training.setup import require_steps, setup_training
from skipway.training.signals import handle_signals
from skipway.training.step import train_step
from skipway.training.time_left import ProgressTimer, plan_of
from skipway.training.train_state import TrainRun, TrainState, fresh_state, restore, run_identity, wrap_model
from skipway.training.validation import end_epoch

AfterEpoch = Callable[[dict[str, Any]], None]


def ignore_record(_: dict[str, Any]) -> None:
    """Nothing happens after an epoch."""


def train(
    dataset: Dataset,
    recipe: Recipe,
    out: Path,
    hardware: Hardware,
    console: Console,
    resume: bool = False,
    options: RunOptions = DEFAULT_OPTIONS,
    group: Group = SINGLE_PROCESS,
    after_epoch: AfterEpoch = ignore_record,
) -> Path:
    """Train `recipe.model` on `dataset` and leave a bundle in `out`, which is returned.

    The bundle holds the weights after the last step, while val only monitors the run, or with `patience` those of the
    best epoch on val; test is not used. `after_epoch` gets the record of each epoch, and may raise. With `resume`,
    an interrupted run in `out` continues after the step of its newest intact checkpoint, with the same weights in the
    end as if it had not been interrupted. Every process of `group` must call it; the first one writes.

    Raises SkipwayError for input that cannot be trained on, a run that differs from the one resumed, or a loss that
    becomes NaN or infinite; Interrupted, with the state saved, on SIGINT or SIGTERM.
    """
    recipe = validate_recipe(recipe)
    require_even_share(recipe, group.world)
    if hardware.device.type == "cpu":
        keep_freed_memory()
    if group.rank:
        console = Console(quiet=True)
    own = [torch.cuda.current_device()] if hardware.device.type == "cuda" else []
    writes = group.rank == 0
    folder = bundle.new_folder(out) if writes and not resume else nullcontext()
    with folder, torch.random.fork_rng(own), determinism(options.deterministic):
        torch.manual_seed(derive_seed(recipe.seed))
        setup = setup_training(dataset, recipe, hardware, console, group)
        identity = run_identity(dataset, setup, group)
        run = TrainRun(setup, hardware, group, options, require_steps(setup), identity, out, console)
        if writes and not resume:
            write_manifest(out, dataset, setup.recipe, hardware, options)
        state = fresh_state(run)
        if resume:
            restore(run, state)
        print_plan(setup, hardware, run.total, group.world, console, options.verbose)
        run_and_explain_errors(run, state, after_epoch)
        keep_best(run, state)
    if writes:
        write_bundle(run, state)
    return out


def write_bundle(run: TrainRun, state: TrainState) -> None:
    """Write the trained network. Raises BundleError for a full disk; the last checkpoint is still there."""
    card = make_card(run.setup, run.identity["data"], run.hardware, state.records, kept_epoch(run, state.records))
    try:
        bundle.write(run.out, state.eval_model().state_dict(), card)
    except OSError as error:
        message = f"{run.out} cannot be written ({error.strerror})"
        raise BundleError(f"{message}: free some space, then {resume_command(run.out)}") from None


def run_and_explain_errors(run: TrainRun, state: TrainState, after_epoch: AfterEpoch) -> None:
    """`run_epochs`, with messages for errors of the data, of other processes, and of torch."""
    try:
        run_epochs(run, state, after_epoch)
    except DataError as error:
        raise DataError(f"{error}; to continue from step {state.step:,}: {resume_command(run.out)}") from None
    except RuntimeError as error:
        if workers_lost(error):  # in the middle of a step, whose state cannot be resumed from
            raise DataError(f"{worker_exit_reason(error)}; to continue: {resume_command(run.out)}") from None
        if run.group.world > 1 and peer_lost(error):
            lost = f"another process died at step {state.step:,}"
            raise SkipwayError(f"{lost}; to continue: {resume_command(run.out)}") from None
        if "deterministic" in str(error):
            raise SkipwayError(f"{first_line(error)}: leave out --deterministic") from None
        raise


def run_epochs(run: TrainRun, state: TrainState, after_epoch: AfterEpoch) -> None:
    """All epochs from `state` to the end, with checkpoints."""
    writes = run.group.rank == 0
    track = tracker(run.options.track if writes else "none")
    timer = timer_for(run, state.step)
    with (
        handle_signals(current=timer.current_work) as stopping,
        CheckpointManager(run.out, run.console, run.options, writes) as manager,
        track(run.out, run.identity["recipe"], state.step) as log,
        progress_line(run.console, run.hardware) as advance,
    ):
        hooks = Hooks(stopping, manager, log, advance, timer)
        set_epoch_mode(state.net, run.setup.recipe, len(state.records))  # only what learns is averaged over processes
        wrap_model(run, state)
        graphs = step_graphs(run, state)
        try:
            while len(state.records) < timer.plan.epochs and not patience_is_over(run, state.records):
                train_epoch(run, state, hooks, graphs)
                end_epoch(run, state, hooks)
                after_epoch(state.records[-1])
        except DataError:  # between two steps
            if run.group.world == 1:
                save_checkpoint(run, state, manager)
            raise
        if manager.last != (len(state.records), state.step):
            save_checkpoint(run, state, manager)


def timer_for(run: TrainRun, step: int) -> ProgressTimer:
    """The timer of `run` from `step` on."""
    setup = run.setup
    val_images = len(setup.validation.split) if setup.validation else 0
    return ProgressTimer(plan_of(setup.recipe, setup.preprocessing.size, run.total, run.steps, val_images), step)


def with_wait_times(batches: Iterator[Batch]) -> Iterator[tuple[Batch, float]]:
    """Each batch with the seconds spent waiting for it."""
    while True:
        start = time.perf_counter()
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch, time.perf_counter() - start


def train_epoch(run: TrainRun, state: TrainState, hooks: Hooks, graphs: StepGraphs | None = None) -> None:
    """The remaining steps of the current epoch; `graphs` take them where they are recorded."""
    setup, recipe, sums, epoch = run.setup, run.setup.recipe, state.sums, len(state.records)
    first, end = epoch * run.steps, min((epoch + 1) * run.steps, run.total)
    set_epoch_mode(state.net, recipe, epoch)
    if is_first_of_more(state.net, recipe, epoch):
        wrap_model(run, state)
    mixes = bool(recipe.mixup or recipe.cutmix)
    start = time.perf_counter() - sums.seconds
    hooks.timer.begin_epoch()
    batches = islice(setup.batches.epoch(epoch, state.step - first), end - state.step)
    for batch, wait in with_wait_times(batches):
        batch = batch._replace(images=run.hardware.place_images(batch.images))
        if mixes:
            batch = mix_batch(batch, setup.task.soft_targets(batch.targets), recipe)
        step = train_step if graphs is None else graphs.train_step
        counts = step(run, state, batch, counted=not mixes)
        if counts is not None:
            sums.tally = counts if sums.tally is None else sums.tally + counts
        sums.waited, sums.seconds = sums.waited + wait, time.perf_counter() - start
        after_step(run, state, hooks)
