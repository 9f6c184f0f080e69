"""Loads a bundle as a network with its task and preprocessing."""

import os
from dataclasses import dataclass
from pathlib import Path

from skipway import bundle
from skipway.bundle import Card
from skipway.bundle.hub import local_folder
from skipway.data.preprocess import Preprocessing
from skipway.errors import BundleError, SkipwayError, first_line
from skipway.hardware import Hardware
from skipway.models.base import Network
from skipway.tasks import Task, task_named


@dataclass(frozen=True)
class TrainedModel:
    """A trained network ready for use.

    net: in evaluation mode and float32, on the requested device; folder: the bundle's.
    """

    net: Network
    task: Task
    preprocessing: Preprocessing
    card: Card
    folder: Path

    @classmethod
    def load(cls, run: str | os.PathLike[str], hardware: Hardware | None = None) -> "TrainedModel":
        """The bundle `run`, a folder or hf:owner/name[@revision], verified; on the CPU when `hardware` is None. Raises
        BundleError."""
        folder = local_folder(run)
        card = bundle.read_card(folder)
        preprocessing = preprocessing_of(card, folder)
        task = task_of(card, folder)
        net = bundle.load_network(folder, card, task.build)
        side = min(preprocessing.canvas)
        if side < net.smallest:
            what = f"an input of {side} pixels, less than the {net.smallest} that {card.network['name']} needs"
            raise invalid(folder, f"preprocessing gives {what}")
        placed = hardware.place(net) if hardware else net
        return cls(placed, task, preprocessing, card, folder)


def invalid(folder: Path, why: str) -> BundleError:
    """The error of a card whose fields do not suit its task."""
    return BundleError(f"{folder / 'card.json'} is not a card ({why}): restore it from a copy")


def preprocessing_of(card: Card, folder: Path = Path()) -> Preprocessing:
    """The preprocessing of a card. Raises BundleError for a missing or unknown field."""
    try:
        return Preprocessing(**card.preprocessing)
    except TypeError as error:
        raise invalid(folder, f"preprocessing: {first_line(error)}") from None


def task_of(card: Card, folder: Path = Path()) -> Task:
    """The task of a card. Raises BundleError for one that this version does not have, and where the network, its head,
    the calibration or the metrics are those of another task."""
    try:
        task = task_named(card.task, card.classes)
        task.require_network(card.network["name"])
    except SkipwayError as error:
        raise BundleError(f"{folder / 'card.json'}: {error}") from None
    require_of_task(task, card, folder)
    try:
        task = task.chosen_on_val(card.metrics)
    except ValueError as error:
        raise invalid(folder, f"metrics.val: {error}") from None
    return task.configured(card.network, preprocessing_of(card, folder), card.calibration)


def require_of_task(task: Task, card: Card, folder: Path) -> None:
    """Raises BundleError for the first field of `card` that does not suit `task`."""
    strange = sorted(card.network.keys() - {"name"} - task.network_options(card.network["name"]))
    if strange:
        raise invalid(folder, f"network.{strange[0]} is no option of {card.network['name']}")
    if card.network["classes"] != task.outputs:
        raise invalid(folder, f"network.classes must be {task.outputs}, not {card.network['classes']}")
    if card.head and card.head != task.head:
        raise invalid(folder, f"head is not that of the task {task.name} with {len(card.classes)} classes")
    if card.calibration and task.calibrates not in card.calibration:
        expected = f"null or has a {task.calibrates}" if task.calibrates else "null"
        raise invalid(folder, f"calibration of the task {task.name} is {expected}")
    for split, metrics in card.metrics.items():
        try:  # what the metrics must hold is known to the functions that show them
            task.summary(metrics)
            task.presenter.figure_of(metrics)
        except (KeyError, TypeError, ValueError) as error:
            raise invalid(folder, f"metrics.{split} are not of the task {task.name}, {first_line(error)}") from None
