"""From a bundle and images to the most likely classes, by the path that evaluation takes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from skipway import bundle, models
from skipway.data.preprocess import Preprocessing
from skipway.data.source import Item
from skipway.errors import DataError
from skipway.hardware import Hardware, decide
from skipway.tasks import TASKS
from skipway.tasks.inference import batch_size, scores_of


@dataclass(frozen=True)
class Prediction:
    """What the network says of one image: (class, probability) from the most likely on, or why it was not read."""

    name: str
    classes: tuple[tuple[str, float], ...] = ()
    error: str = ""


class Predictor:
    """A trained network ready to label images. `hardware` is this machine's best when None."""

    def __init__(self, folder: str | Path, hardware: Hardware | None = None) -> None:
        self.hardware = hardware or decide()
        net, self.card = bundle.load(Path(folder), models.build)
        self.net = self.hardware.place(net)
        self.task = TASKS[self.card.task](tuple(self.card.classes))
        self.preprocessing = Preprocessing(**self.card.preprocessing)

    def predict(self, images: Iterable[str | Path | Item], top: int = 5) -> Iterator[Prediction]:
        """For each image (path, encoded bytes, or uint8 array (H, W, C)), its `top` classes, in order.

        An image that cannot be read gives a Prediction with `error`; the others are answered all the same.
        """
        waiting = iter(enumerate(images))
        while group := list(islice(waiting, batch_size(self.hardware.device))):
            names = [str(image) if isinstance(image, str | Path) else f"image {i}" for i, image in group]
            opened: list[torch.Tensor | DataError] = []
            for name, (_, image) in zip(names, group, strict=True):
                try:
                    opened.append(self.preprocessing.open(Path(image) if isinstance(image, str) else image, name))
                except DataError as fault:
                    opened.append(fault)
            answers = self.answers([image for image in opened if isinstance(image, torch.Tensor)], top)
            for name, found in zip(names, opened, strict=True):
                if isinstance(found, DataError):
                    yield Prediction(name, error=str(found))
                else:
                    yield Prediction(name, next(answers))

    def answers(self, images: list[torch.Tensor], top: int) -> Iterator[tuple[tuple[str, float], ...]]:
        """The `top` classes of each of at most one batch of fitted images."""
        if not images:
            return
        scores = next(scores_of(self.net, [torch.stack(images)], self.preprocessing, self.hardware.device))
        best = self.task.probabilities(scores).topk(min(top, self.task.outputs))
        for values, places in zip(best.values.tolist(), best.indices.tolist(), strict=True):
            yield tuple((self.task.classes[place], value) for place, value in zip(places, values, strict=True))
