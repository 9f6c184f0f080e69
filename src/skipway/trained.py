"""Loads a bundle as a network with its task and preprocessing."""

from dataclasses import dataclass
from pathlib import Path

from skipway import bundle
from skipway.bundle import Card
from skipway.data.preprocess import Preprocessing
from skipway.errors import BundleError, first_line
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
    def load(cls, folder: Path, hardware: Hardware | None = None) -> "TrainedModel":
        """The bundle in `folder`, verified; on the CPU when `hardware` is None. Raises BundleError."""
        card = bundle.read_card(folder)
        preprocessing = preprocessing_of(card, folder)
        task = task_of(card)
        net = bundle.load_network(folder, card, task.build)
        placed = hardware.place(net) if hardware else net
        return cls(placed, task, preprocessing, card, folder)


def preprocessing_of(card: Card, folder: Path = Path()) -> Preprocessing:
    """The preprocessing of a card. Raises BundleError for a missing or unknown field."""
    try:
        return Preprocessing(**card.preprocessing)
    except TypeError as error:
        why = f"{folder / 'card.json'} has no valid preprocessing ({first_line(error)})"
        raise BundleError(f"{why}: restore it from a copy") from None


def task_of(card: Card) -> Task:
    """The task of a card. Raises BundleError for one that this version does not have, and for invalid preprocessing."""
    return task_named(card.task, card.classes).configured(card.network, preprocessing_of(card), card.calibration)
