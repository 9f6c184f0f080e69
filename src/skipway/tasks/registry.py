"""Tasks by name."""

from collections.abc import Sequence
from contextlib import suppress

from skipway.data.dataset import Dataset
from skipway.errors import BundleError, UnknownNameError
from skipway.models import NETWORKS
from skipway.tasks.base import Task
from skipway.tasks.classify.task import Classify
from skipway.tasks.detect.task import Detect
from skipway.tasks.generate.task import Generate
from skipway.tasks.segment.task import Segment
from skipway.tasks.tag.task import Tag

TASKS: dict[str, type[Task]] = {
    "classify": Classify,
    "tag": Tag,
    "detect": Detect,
    "segment": Segment,
    "generate": Generate,
}


def task_named(name: str, classes: Sequence[str]) -> Task:
    """The task called `name` in a card, for its classes. Raises BundleError for one that this version does not have."""
    if name not in TASKS:
        raise BundleError(f"the task {name} is not one of {', '.join(TASKS)}: upgrade skipway")
    return TASKS[name].from_classes(classes)


def task_for(dataset: Dataset) -> Task:
    """The task of a data set's annotations."""
    return task_named(dataset.task, dataset.classes)


def classifier(classes: Sequence[str]) -> Task:
    """The task of classifiers without a data set, as of networks by name."""
    return Classify.from_classes(classes)


def task_for_network(name: str, classes: Sequence[str]) -> Task:
    """The first task that the network called `name` suits. Raises UnknownNameError if there is no such network."""
    for kind in TASKS.values():
        task = kind.from_classes(classes)
        with suppress(UnknownNameError):
            task.require_network(name)
            return task
    raise UnknownNameError("model", name, NETWORKS, "`skipway list` shows all names")
