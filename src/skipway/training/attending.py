"""Between two steps: a checkpoint when it is time, an end when a signal asks for it, figures for who watches."""

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from skipway.training.estimate import FLOAT32, FORWARD, REPORT
from skipway.training.faults import continuing
from skipway.training.interrupt import Interrupted
from skipway.training.keeping import Keeper
from skipway.training.pace import Pace
from skipway.training.schedule import factor
from skipway.training.state import Run, State, snapshot
from skipway.training.step import require_sound
from skipway.training.tracking import Log
from skipway.training.watching import Advance, Status, outlook, peak_memory

LOGGED = 50  # steps whose figures a tracker gets together


@dataclass(frozen=True)
class Attendants:
    """Who is asked between two steps: whether a signal came, who keeps checkpoints, who is told of figures, what times
    the run."""

    stopping: Callable[[], int]
    keeper: Keeper
    log: Log
    advance: Advance
    pace: Pace


def attend(run: Run, state: State, around: Attendants) -> None:
    """Between two steps: write a checkpoint when it is time, and end when a signal asks for it."""
    if not state.unread:  # a GPU has computed the steps whose losses were read; of others it may only have heard
        around.pace.stepped(state.step)
    stop, due = run.group.agree(bool(around.stopping()), around.keeper.due(state.step))
    if stop:
        end(run, state, around)
    if due:
        keep(run, state, around.keeper)
    around.advance(status_of(run, state, around.pace))
    if around.pace.tells_first():
        tell_outlook(run, state, around)
    if state.step % LOGGED == 0 and state.read:
        figures = {"loss": sum(state.read) / len(state.read), "rate": rate_of(run, state.step)}
        around.log(state.step, figures | speed_of(run, state))
        state.read.clear()


def status_of(run: Run, state: State, pace: Pace, judged: tuple[int, int] | None = None) -> Status:
    """Where the run stands. judged: images of val judged and of how many, during a validation."""
    loss = state.sums.loss / state.sums.steps if state.sums.steps else None
    speed, done = speed_of(run, state), len(state.records)
    rate, waiting = speed["images_per_second"], speed["waiting"]
    return Status(done + 1, pace.plan.epochs, state.step, run.total, loss, rate, waiting, pace.left(done), judged)


def tell_outlook(run: Run, state: State, around: Attendants) -> None:
    """Say how long the run takes, the steps that this process has taken and the evaluation at the end included."""
    left = around.pace.left(len(state.records))
    if left is not None:
        after = evaluation_time(run, left / max(run.total - state.step, 1))
        whole, peak = left + around.pace.elapsed() + after, peak_memory(run.hardware)
        run.console.print(outlook(whole, around.pace.begun, run.total, peak, run.hardware), soft_wrap=True)


def evaluation_time(run: Run, step: float) -> float:
    """Seconds of the evaluation and the report after a training whose steps take `step` seconds."""
    splits = run.prepared.source.splits
    judged = sum(len(splits[name]) for name in ("val", "test") if name in splits)
    return judged * step / run.prepared.recipe.batch * FORWARD * FLOAT32 + REPORT


def end(run: Run, state: State, around: Attendants) -> NoReturn:
    """Save the state and raise Interrupted."""
    keep(run, state, around.keeper)
    raise Interrupted(around.stopping() or signal.SIGTERM, state.step, continuing(run.out))


def keep(run: Run, state: State, keeper: Keeper) -> None:
    """Have a checkpoint written. Raises NotFinite, and none is, when the state is not sound."""
    require_sound(run, state)
    checkpoint = snapshot(run, state)
    keeper.save(checkpoint, best_of(run, state.records))


def best_of(run: Run, records: list[dict[str, Any]]) -> tuple[int, int] | None:
    """(epochs done, step) after the epoch of the best figure on val; None without val."""
    figure = f"val_{run.prepared.task.headline}"
    judged = [record for record in records if figure in record]
    best = max(judged, key=lambda record: (record[figure], -record["epoch"]), default=None)
    return (best["epoch"], best["step"]) if best else None


def rate_of(run: Run, step: int) -> float:
    """The learning rate of the last of `step` steps."""
    return run.prepared.recipe.peak_rate() * factor(run.prepared.recipe, (step - 1) / run.total)


def speed_of(run: Run, state: State) -> dict[str, float]:
    """Images a second in the present epoch, all processes together, and the share of its time spent waiting."""
    done, seconds = state.step - len(state.records) * run.steps, max(state.sums.seconds, 1e-9)
    images = done * run.prepared.recipe.batch
    return {"images_per_second": round(images / seconds, 1), "waiting": round(state.sums.waited / seconds, 4)}
