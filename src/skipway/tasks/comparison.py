"""What comparisons share between tasks: the level of the tests, Holm's correction, and what must be the same.

Holm: A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6, 1979.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from skipway.errors import DataError
from skipway.reporting.html import plain
from skipway.tasks.base import Evaluation

SCHEMA = 1
LEVEL = 0.05


class ClassedEvaluation(Evaluation, Protocol):
    """The results on a split, for a task with classes and named images."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def names(self) -> Sequence[str]: ...


def holm(values: Sequence[float]) -> list[float]:
    """p-values of several tests, adjusted so that the chance of any false positive is below the level (Holm 1979)."""
    adjusted, least = [0.0] * len(values), 0.0
    for rank, place in enumerate(np.argsort(values, kind="stable").tolist()):
        least = max(least, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = least
    return adjusted


def require_same_classes(run: str, first: ClassedEvaluation, other_run: str, other: ClassedEvaluation) -> None:
    """Raises DataError unless both have the same classes, in any order."""
    if set(first.classes) != set(other.classes):
        different = ", ".join(sorted(set(first.classes) ^ set(other.classes))[:5])
        raise DataError(f"{run} and {other_run} have different classes ({different}): compare runs of the same ones")


def require_same_images(run: str, first: ClassedEvaluation, other_run: str, other: ClassedEvaluation) -> None:
    """Raises DataError unless both were evaluated on the same images."""
    if list(first.names) != list(other.names) or first.scored.split != other.scored.split:
        raise DataError(
            f"{run} and {other_run} have different images in {first.scored.split}, because each split its own: "
            "compare them with --split test, or on data that neither was trained on"
        )


def head_json(runs: Sequence[str], evaluations: Sequence[ClassedEvaluation], test: str, command: str) -> dict[str, Any]:
    """The part of comparison.json that every task has: the data, the test, the command, and each run's metrics.

    holm: whether the p-values are adjusted, as they are for more than two runs.
    """
    scored = evaluations[0].scored
    return {
        "schema": SCHEMA,
        "data": scored.data,
        "fingerprint": scored.fingerprint,
        "split": scored.split,
        "n": len(scored.images),
        "test": test,
        "holm": len(runs) > 2,
        "command": command,
        "runs": [
            {"run": run, "metrics": plain(evaluation.metrics)}
            for run, evaluation in zip(runs, evaluations, strict=True)
        ],
    }
