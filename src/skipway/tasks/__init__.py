"""Tasks by name: what networks are trained for. Code outside this package is the same for every task (see base.py).

They are imported when one of these names is used: showing a prediction needs none of them, nor torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skipway.tasks.base import Task
    from skipway.tasks.classify.task import Classify
    from skipway.tasks.registry import TASKS, classifier, task_for, task_for_network, task_named
    from skipway.tasks.tag.task import Tag

__all__ = ["TASKS", "Classify", "Tag", "Task", "classifier", "task_for", "task_for_network", "task_named"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'skipway.tasks' has no attribute '{name}'")
    return getattr(import_module("skipway.tasks.registry"), name)
