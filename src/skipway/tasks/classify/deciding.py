"""A classifier's task that marks unsure answers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from skipway.errors import SkipwayError
from skipway.tasks.base import Task
from skipway.tasks.classify.decision import Decision
from skipway.tasks.classify.task import Classify


def deciding(task: Task, error: float, metrics: Mapping[str, Mapping[str, Any]]) -> Task:
    """`task`, marking answers for an error of at most `error` (see `Decision.for_error`). Raises SkipwayError for other
    tasks than one class an image, for an error that is no share, and where no threshold is known."""
    if not isinstance(task, Classify):
        raise SkipwayError(f"--unsure is for one class an image, and not for {task.annotation}: leave it out")
    if not 0 < error < 1:
        raise SkipwayError(f"--unsure {error:g} is no share of errors: give one between 0 and 1, as 0.05")
    return replace(task, decision=Decision.for_error(error, metrics))
