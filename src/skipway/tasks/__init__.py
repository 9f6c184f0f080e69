"""What a network is for. A task gives the head's size, the loss of a batch, predictions, and their score."""

from collections.abc import Sequence

from skipway.tasks.classify import Classify
from skipway.tasks.tag import Tag

__all__ = ["TASKS", "Classify", "Tag", "Task", "task_named"]

Task = Classify | Tag

TASKS: dict[str, type[Task]] = {"classify": Classify, "tag": Tag}


def task_named(name: str, classes: Sequence[str]) -> Task:
    """The task that a card calls `name`, for its classes."""
    return TASKS[name](tuple(classes))
