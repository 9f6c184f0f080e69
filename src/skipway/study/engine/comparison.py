"""Comparison of networks by their errors: figures of each training run, verdicts and plots."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skipway.reporting.svg import quieten
from skipway.study.engine.context import ExperimentContext, TrainedNetwork
from skipway.study.engine.experiment import Claim, Verdict
from skipway.study.engine.scale import Scale
from skipway.study.engine.verdicts import all_of, decide_verdict, format_mean_std, mean, separated
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Runs = Sequence[Mapping[str, Any]]  # the output of `run_errors`, one for each seed
LEAST = 0.5  # percentage points; smaller differences count as equal
ERROR_NAMES = {"running": "running training error", "train": "final training error", "test": "test error"}
COLUMNS = tuple(f"{ERROR_NAMES[key]}, %" for key in ("running", "train", "test"))
TRAIN_COLOUR, TEST_COLOUR = "#0072B2", "#D55E00"


def apart_by(points: float) -> str:
    """The tolerance of a claim that one network has lower errors than another."""
    return f"the seeds of the two networks do not overlap, and the means differ by at least {points} points"


APART = apart_by(LEAST)


def run_errors(trained: TrainedNetwork) -> dict[str, object]:
    """A training run's errors in per cent: the running error by step and at the last step, and the final errors in
    evaluation mode."""
    curve = [[r["step"], round(100 * (1 - r["train_top1"]), 3)] for r in trained.epoch_records()]
    outcome = trained.outcome
    return {
        "seed": trained.run.recipe.seed,
        "curve": curve,
        "running": curve[-1][1] if curve else outcome.train_error,
        "train": round(outcome.train_error, 3),
        "test": round(outcome.test_error, 3),
        "diverged": outcome.diverged,
    }


def errors_by_label(context: ExperimentContext, recipes: Mapping[str, Recipe]) -> dict[str, Runs]:
    """The errors of every seed of each recipe, by its label."""
    return {label: [run_errors(trained) for trained in context.trainings(recipe)] for label, recipe in recipes.items()}


def seed_values(runs: Runs, key: str) -> list[float]:
    """A figure of every seed. A diverged run counts as chance, whatever its last running error was."""
    return [run["train"] if run["diverged"] and key == "running" else run[key] for run in runs]


def is_lower(better: Runs, worse: Runs, keys: Sequence[str], least: float = LEAST) -> bool | None:
    """True if `better` has lower errors in all of `keys`, False if it has higher ones in all, otherwise None."""
    supported = {separated(seed_values(better, key), seed_values(worse, key), least) for key in keys}
    return supported.pop() if len(supported) == 1 else None


def format_errors(nets: Mapping[str, Runs], keys: Sequence[str]) -> str:
    """The errors of `nets`, by label, as text."""
    return "; ".join(
        f"{ERROR_NAMES[key]}: "
        + ", ".join(
            f"{label} {format_mean_std(seed_values(runs, key), unit=' %')}{format_diverged(runs)}"
            for label, runs in nets.items()
        )
        for key in keys
    )


def format_diverged(runs: Runs) -> str:
    """The number of seeds that diverged, as text; empty if none did."""
    count = sum(bool(run["diverged"]) for run in runs)
    return f" ({count} of {len(runs)} diverged)" if count else ""


def compare_errors(
    claim: Claim, scale: Scale, nets: Mapping[str, Runs], better: str, worse: Sequence[str], keys: Sequence[str]
) -> Verdict:
    """The verdict on a claim that `better` has lower errors in `keys` than each of `worse` (labels in `nets`)."""
    if not {better, *worse} <= set(nets):
        return not_trained(claim, scale)
    shown = {label: nets[label] for label in (better, *worse)}
    supported = all_of(*(is_lower(nets[better], nets[label], keys) for label in worse))
    return decide_verdict(claim, scale, supported, format_errors(shown, keys))


def not_trained(claim: Claim, scale: Scale) -> Verdict:
    """The verdict at a scale that does not train the networks of the claim."""
    reason = f"Scale {scale.label} does not train these networks; scale paper does."
    return Verdict(claim.name, "not decided", reason, "not measured")


def error_cells(runs: Runs) -> tuple[str, str, str]:
    """The table cells for COLUMNS."""
    running, train, test = (
        format_mean_std(seed_values(runs, key)) + format_diverged(runs) for key in ("running", "train", "test")
    )
    return running, train, test


def plot_errors(axes: "Axes", nets: Mapping[str, Runs]) -> None:
    """Plot one row for each network, the first on top, and for each seed a circle at its training error and a square
    at its test error."""
    for row, runs in enumerate(nets.values()):
        train, test = seed_values(runs, "train"), seed_values(runs, "test")
        if runs:
            axes.plot([mean(train), mean(test)], [row, row], color="#c9cdd2", linewidth=1.2, zorder=1)
        for found, colour, mark, label in ((train, TRAIN_COLOUR, "o", "training"), (test, TEST_COLOUR, "s", "test")):
            axes.scatter(found, [row] * len(found), s=24, c=colour, marker=mark, label=None if row else label, zorder=2)
    quieten(axes)
    axes.grid(axis="x", color="#e3e5e8", linewidth=0.7)
    axes.set_yticks(range(len(nets)), list(nets))
    axes.invert_yaxis()
    axes.set_xlabel("final error (%)")
    axes.legend(frameon=False, fontsize=8)
