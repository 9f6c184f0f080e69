"""The page of a search: its trials as a table, their figures in order and by the value of each field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from skipway.bundle import write_atomically
from skipway.reporting import html
from skipway.reporting.svg import quieten, svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"complete": ("#0072B2", "o"), "pruned": ("#8a9099", "x")}


@dataclass(frozen=True)
class TrialResult:
    """A trial: complete, pruned or failed; its figure on val, of a pruned one the last; how many epochs it had; the
    values that it tried; why it failed."""

    number: int
    state: str
    value: float | None
    epochs: int
    values: dict[str, Any]
    error: str = ""


def write_page(
    folder: Path,
    data: str,
    metric: str,
    higher: bool,
    trials: Sequence[TrialResult],
    importance: Mapping[str, float],
    command: str,
) -> Path:
    """report.html in `folder`; returns its path. higher: whether higher figures are better."""
    done = [one for one in trials if one.value is not None]
    fields = list(trials[0].values)
    ordered = sorted(trials, key=lambda one: (one.state != "complete", rank(one, higher)))
    page = html.render(
        "tune.html",
        "skipway.commands",
        data=data,
        metric=metric,
        trials=ordered,
        fields=fields,
        importance=importance,
        command=command,
        history=Markup(history(done, metric, higher)),
        slices=[(field, Markup(by_field(done, field, metric))) for field in fields],
    )
    file = folder / "report.html"
    write_atomically(file, page.encode())
    return file


def rank(trial: TrialResult, higher: bool) -> float:
    """A number that is lower for better figures."""
    return 0.0 if trial.value is None else -trial.value if higher else trial.value


def history(trials: Sequence[TrialResult], metric: str, higher: bool) -> str:
    """The figures of the trials in order, and the best so far."""
    complete = [one for one in trials if one.state == "complete"]
    best = list(accumulate((one.value for one in complete if one.value is not None), max if higher else min))

    def draw(figure: "Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        axes = figure.subplots()
        points(axes, [(one.number, one) for one in trials])
        axes.step([one.number for one in complete], best, where="post", color="#D55E00", label="best so far")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        label(axes, "trial", metric)

    return svg(draw, (6.2, 3.0), "history", f"{metric} on val by trial; the best is {best[-1]:.4g}.")


def by_field(trials: Sequence[TrialResult], field: str, metric: str) -> str:
    """The figures of the trials by the value of a field."""
    values = [one.values[field] for one in trials if field in one.values]
    spread = [v for v in values if isinstance(v, float | int)]
    wide = len(spread) == len(values) and min(spread, default=0) > 0 and max(spread) >= 10 * min(spread)

    def draw(figure: "Figure") -> None:
        axes = figure.subplots()
        points(axes, [(one.values[field], one) for one in trials if field in one.values])
        if wide:
            axes.set_xscale("log")
        label(axes, field, metric)

    return svg(draw, (4.2, 2.8), field, f"{metric} on val by {field}.")


def points(axes: Any, placed: Sequence[tuple[Any, TrialResult]]) -> None:
    """A mark for each trial."""
    for state, (colour, marker) in COLOURS.items():
        chosen = [(x, one.value) for x, one in placed if one.state == state]
        if chosen:
            axes.plot(*zip(*chosen, strict=True), marker, color=colour, markersize=4.5, label=state)


def label(axes: Any, below: str, metric: str) -> None:
    axes.set_xlabel(below)
    axes.set_ylabel(f"{metric} on val")
    quieten(axes)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, borderaxespad=0.2)
