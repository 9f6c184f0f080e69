"""What a network is for. A task gives the head's size, the loss of a batch, predictions, and their score."""

from skipway.tasks.classify import Classify
from skipway.tasks.tag import Tag

__all__ = ["TASKS", "Classify", "Tag", "Task"]

Task = Classify | Tag

TASKS: dict[str, type[Task]] = {"classify": Classify, "tag": Tag}
