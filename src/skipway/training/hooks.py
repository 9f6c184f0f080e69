"""Actions between two steps: checkpoints, stopping on a signal, progress and tracking."""

import math
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from skipway.training.checkpoint_manager import CheckpointManager
from skipway.training.errors import resume_command
from skipway.training.loggers import Log
from skipway.training.lr_schedule import lr_multiplier
from skipway.training.progress import Advance, Status, peak_memory, time_estimate_message
from skipway.training.signals import Interrupted
from skipway.training.step import check_finite
from skipway.training.time_estimate import FLOAT32, FORWARD, REPORT
from skipway.training.time_left import ProgressTimer
from skipway.training.train_state import TrainRun, TrainState, snapshot

LOGGED = 50  # steps whose mean figures are sent to the tracker


@dataclass(frozen=True)
class Hooks:
    """What a run calls between two steps. `stopping` returns the received signal or 0, `log` sends figures to the
    tracker, `advance` shows progress."""

    stopping: Callable[[], int]
    manager: CheckpointManager
    log: Log
    advance: Advance
    timer: ProgressTimer


def after_step(run: TrainRun, state: TrainState, hooks: Hooks) -> None:
    """Between two steps: write a checkpoint when it is due, and stop when a signal has arrived."""
    # a GPU has computed the steps whose losses were read; later ones may only be queued
    if not state.pending_losses:
        hooks.timer.step_done(state.step)
    stop, due = run.group.any_rank(bool(hooks.stopping()), hooks.manager.due(state.step))
    if stop:
        save_and_stop(run, state, hooks)
    if due:
        save_checkpoint(run, state, hooks.manager)
    hooks.advance(status_of(run, state, hooks.timer))
    if hooks.timer.first_estimate_due():
        print_time_estimate(run, state, hooks)
    if state.step % LOGGED == 0 and state.recent_losses:
        figures = {"loss": sum(state.recent_losses) / len(state.recent_losses), "rate": current_lr(run, state.step)}
        hooks.log(state.step, figures | throughput(run, state))
        state.recent_losses.clear()


def status_of(
    run: TrainRun, state: TrainState, timer: ProgressTimer, validated: tuple[int, int] | None = None
) -> Status:
    """The progress of the run. validated: images of val evaluated and of how many, during a validation."""
    loss = state.sums.loss / state.sums.steps if state.sums.steps else None
    speed, done = throughput(run, state), len(state.records)
    rate, waiting = speed["images_per_second"], speed["waiting"]
    return Status(done + 1, timer.plan.epochs, state.step, run.total, loss, rate, waiting, timer.left(done), validated)


def print_time_estimate(run: TrainRun, state: TrainState, hooks: Hooks) -> None:
    """Print how long the run takes, including the steps already taken by this process and the evaluation at the end."""
    left = hooks.timer.left(len(state.records))
    if left is not None:
        evaluation = evaluation_time(run, left / max(run.total - state.step, 1))
        total, peak = left + hooks.timer.elapsed() + evaluation, peak_memory(run.hardware)
        run.console.print(
            time_estimate_message(total, hooks.timer.first_step, run.total, peak, run.hardware), soft_wrap=True
        )


def evaluation_time(run: TrainRun, step: float) -> float:
    """Seconds of the evaluation and the report after a training whose steps take `step` seconds."""
    splits = run.setup.dataset.splits
    images = sum(len(splits[name]) for name in ("val", "test") if name in splits)
    return images * step / run.setup.recipe.batch * FORWARD * FLOAT32 + REPORT


def save_and_stop(run: TrainRun, state: TrainState, hooks: Hooks) -> NoReturn:
    """Save the state and raise Interrupted."""
    save_checkpoint(run, state, hooks.manager)
    raise Interrupted(hooks.stopping() or signal.SIGTERM, state.step, resume_command(run.out))


def save_checkpoint(run: TrainRun, state: TrainState, manager: CheckpointManager) -> None:
    """Write a checkpoint. Raises NonFiniteError, and writes none, when the state is not finite."""
    check_finite(run, state)
    checkpoint = snapshot(run, state)
    manager.save(checkpoint, best_epoch(run, state.records))


def best_epoch(run: TrainRun, records: list[dict[str, Any]]) -> tuple[int, int] | None:
    """(epochs done, step) after the epoch of the best figure on val; None without one that is a number."""
    task = run.setup.task
    figure, sign = f"val_{task.metric}", 1 if task.higher_is_better else -1
    evaluated = [one for one in records if one.get(figure) is not None and math.isfinite(one[figure])]
    best = max(evaluated, key=lambda record: (sign * record[figure], -record["epoch"]), default=None)
    return (best["epoch"], best["step"]) if best else None


def current_lr(run: TrainRun, step: int) -> float:
    """The learning rate of the last of `step` steps."""
    return run.setup.recipe.peak_rate() * lr_multiplier(run.setup.recipe, (step - 1) / run.total)


def throughput(run: TrainRun, state: TrainState) -> dict[str, float]:
    """Images per second in the current epoch, over all processes, and the share of its time spent waiting for data."""
    done, seconds = state.step - len(state.records) * run.steps, max(state.sums.seconds, 1e-9)
    images = done * run.setup.recipe.batch
    return {"images_per_second": round(images / seconds, 1), "waiting": round(state.sums.waited / seconds, 4)}
