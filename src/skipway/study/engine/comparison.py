"""Comparison of networks by their errors: figures of each training run, verdicts and plots."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skipway.reporting.svg import quieten
from skipway.study.engine.context import ExperimentContext, TrainedNetwork
from skipway.study.engine.experiment import Claim, Effect, Verdict
from skipway.study.engine.verdicts import decide, difference, format_mean_std
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Runs = Sequence[Mapping[str, Any]]  # the output of `run_errors`, one for each seed
LEAST = 0.5  # percentage points; smaller differences count as equal
ERROR_NAMES = {"running": "running training error", "train": "final training error", "test": "test error"}
COLUMNS = tuple(f"{ERROR_NAMES[key]}, %" for key in ("running", "train", "test"))
TRAIN_COLOUR, TEST_COLOUR = "#0072B2", "#D55E00"
MARKS = (("train", "training", TRAIN_COLOUR, "o", -0.15), ("test", "test", TEST_COLOUR, "s", 0.15))  # offset in rows


def apart_by(points: float) -> str:
    """The tolerance of a claim that one network has lower errors than another."""
    return f"the means differ by at least {points} points, and the 95 % interval of their difference does not contain 0"


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


def error_effects(better: Runs, worse: Runs, keys: Sequence[str], names: tuple[str, str], least: float) -> list[Effect]:
    """By how many points `worse` has higher errors than `better`, for each of `keys`. names: of the two networks."""
    return [
        difference(
            seed_values(better, key),
            seed_values(worse, key),
            f"{ERROR_NAMES[key]}, {names[1]} - {names[0]}",
            least,
            "points",
        )
        for key in keys
    ]


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
    claim: Claim,
    steps: int,
    nets: Mapping[str, Runs],
    better: str,
    worse: Sequence[str],
    keys: Sequence[str],
    least: float = LEAST,
) -> Verdict:
    """The verdict on a claim that `better` has lower errors in `keys` than each of `worse` (labels in `nets`).

    steps: of training.
    """
    if not {better, *worse} <= set(nets):
        return not_trained(claim)
    shown = {label: nets[label] for label in (better, *worse)}
    effects = [
        effect for label in worse for effect in error_effects(nets[better], nets[label], keys, (better, label), least)
    ]
    return decide(claim, steps, effects, format_errors(shown, keys))


def not_trained(claim: Claim) -> Verdict:
    """The verdict where the networks of a claim were not trained."""
    return decide(claim, 0, (), "not measured", "these networks were not trained at this scale")


def error_cells(runs: Runs) -> tuple[str, str, str]:
    """The table cells for COLUMNS."""
    running, train, test = (
        format_mean_std(seed_values(runs, key)) + format_diverged(runs) for key in ("running", "train", "test")
    )
    return running, train, test


def plot_errors(axes: "Axes", nets: Mapping[str, Runs]) -> None:
    """Plot one row for each network, the first on top: for each seed a circle at its training error and below it a
    square at its test error. Seeds that diverged are counted in words, so that they do not stretch the axis."""
    for row, runs in enumerate(nets.values()):
        trained = [run for run in runs if not run["diverged"]]
        for key, label, colour, mark, offset in MARKS:
            found = seed_values(trained, key)
            axes.scatter(found, [row + offset] * len(found), s=20, c=colour, marker=mark, label=None if row else label)
        note = format_diverged(runs).strip(" ()")
        axes.text(0.99, row, note, ha="right", va="center", fontsize=8, transform=axes.get_yaxis_transform())
    quieten(axes)
    axes.grid(axis="x", color="#e3e5e8", linewidth=0.7)
    axes.set_yticks(range(len(nets)), list(nets))
    axes.set_ylim(len(nets) - 0.5, -0.5)
    axes.set_xlabel("final error (%)")
    axes.legend(frameon=False, fontsize=8)
