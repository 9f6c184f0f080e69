"""What a network is for. A task gives the head's size, the loss of a batch, predictions, and their score."""

from skipway.tasks.classify import Classify

__all__ = ["TASKS", "Classify"]

TASKS = {"classify": Classify}
