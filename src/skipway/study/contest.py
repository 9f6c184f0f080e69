"""Nets against each other: what a training's outcome says in figures, and the verdict on which of two is better."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skipway.evaluation.plots import quieten
from skipway.study.bench import Bench, Trained
from skipway.study.contract import Claim, Scale, Verdict
from skipway.study.verdicts import all_of, apart, mean, settle, spread
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Runs = Sequence[Mapping[str, Any]]  # what `of_run` gives, a seed each
LEAST = 0.5  # points of per cent; a smaller difference counts as none
WORDS = {"running": "running training error", "train": "training error at the end", "test": "test error"}
COLUMNS = tuple(f"{WORDS[key]}, %" for key in ("running", "train", "test"))
TRAIN_COLOUR, TEST_COLOUR = "#0072B2", "#D55E00"


def apart_by(points: float) -> str:
    """The tolerance of a claim that one net has lower errors than another."""
    return f"every seed of one net is on the same side of every seed of the other, the means {points} points apart"


APART = apart_by(LEAST)


def of_run(trained: Trained) -> dict[str, object]:
    """A training's errors in per cent: running, by step and at the last; at the end, in evaluation mode."""
    curve = [[r["step"], round(100 * (1 - r["train_top1"]), 3)] for r in trained.records()]
    outcome = trained.outcome
    return {
        "seed": trained.run.recipe.seed,
        "curve": curve,
        "running": curve[-1][1] if curve else outcome.train_error,
        "train": round(outcome.train_error, 3),
        "test": round(outcome.test_error, 3),
        "diverged": outcome.diverged,
    }


def outcomes(bench: Bench, recipes: Mapping[str, Recipe]) -> dict[str, Runs]:
    """What became of each recipe, by its label."""
    return {label: [of_run(trained) for trained in bench.of(recipe)] for label, recipe in recipes.items()}


def values(runs: Runs, key: str) -> list[float]:
    """A figure of every seed. One that diverged ends where guessing is, however low its last running error was."""
    return [run["train"] if run["diverged"] and key == "running" else run[key] for run in runs]


def below(better: Runs, worse: Runs, keys: Sequence[str], least: float = LEAST) -> bool | None:
    """Whether `better` has the lower errors in all of `keys`, or (False) the higher ones in all; else None."""
    seen = {apart(values(better, key), values(worse, key), least) for key in keys}
    return seen.pop() if len(seen) == 1 else None


def described(nets: Mapping[str, Runs], keys: Sequence[str]) -> str:
    """The errors of `nets`, by label, in words."""
    return "; ".join(
        f"{WORDS[key]}: "
        + ", ".join(f"{label} {spread(values(runs, key), unit=' %')}{lost(runs)}" for label, runs in nets.items())
        for key in keys
    )


def lost(runs: Runs) -> str:
    """How many seeds diverged, in words."""
    count = sum(bool(run["diverged"]) for run in runs)
    return f" ({count} of {len(runs)} diverged)" if count else ""


def contest(
    claim: Claim, scale: Scale, nets: Mapping[str, Runs], better: str, worse: Sequence[str], keys: Sequence[str]
) -> Verdict:
    """The verdict on a claim that `better` has lower errors in `keys` than each of `worse`, all labels of `nets`."""
    if not {better, *worse} <= set(nets):
        return untrained(claim, scale)
    shown = {label: nets[label] for label in (better, *worse)}
    seen = all_of(*(below(nets[better], nets[label], keys) for label in worse))
    return settle(claim, scale, seen, described(shown, keys))


def untrained(claim: Claim, scale: Scale) -> Verdict:
    """The verdict where a scale does not train what the claim is about."""
    return Verdict(claim.name, "not decided", f"Scale {scale.called} does not train it; scale paper does.", "nothing")


def cells(runs: Runs) -> tuple[str, str, str]:
    """A table's errors, as COLUMNS names them."""
    running, train, test = (spread(values(runs, key)) + lost(runs) for key in ("running", "train", "test"))
    return running, train, test


def marks(axes: "Axes", nets: Mapping[str, Runs]) -> None:
    """A line a net, the first on top: a circle a seed at its training error, a square at its test error."""
    for row, runs in enumerate(nets.values()):
        train, test = values(runs, "train"), values(runs, "test")
        if runs:
            axes.plot([mean(train), mean(test)], [row, row], color="#c9cdd2", linewidth=1.2, zorder=1)
        for found, colour, mark, label in ((train, TRAIN_COLOUR, "o", "training"), (test, TEST_COLOUR, "s", "test")):
            axes.scatter(found, [row] * len(found), s=24, c=colour, marker=mark, label=None if row else label, zorder=2)
    quieten(axes)
    axes.grid(axis="x", color="#e3e5e8", linewidth=0.7)
    axes.set_yticks(range(len(nets)), list(nets))
    axes.invert_yaxis()
    axes.set_xlabel("error at the end (%)")
    axes.legend(frameon=False, fontsize=8)
