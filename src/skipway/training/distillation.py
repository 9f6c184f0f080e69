"""Distillation: the scores of a trained network, the teacher, are learned besides the labels.

Hinton, Vinyals, Dean: Distilling the Knowledge in a Neural Network. 2015, arXiv:1503.02531, sec. 2. The teacher sees
the same views of the images, crops and mixtures included, at its own size and with its own mean and deviation.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from skipway.data.preprocess import Preprocessing
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.tasks import Task
from skipway.trained import TrainedModel
from skipway.training.recipes import Recipe

WEIGHT, TEMPERATURE = 0.5, 4.0  # where the recipe has 0


@dataclass(frozen=True)
class Teacher:
    """A trained network that another one learns from.

    views: the preprocessing of the images that it is given; order: the place of each of the student's classes among its
    own; origin: what the student's card says of it.
    """

    model: TrainedModel
    views: Preprocessing
    order: Tensor
    weight: float
    temperature: float
    hardware: Hardware
    origin: dict[str, Any]

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """Scores (N, classes), float32 and in the student's order, for the student's inputs: images float32
        (N, C, H, W), normalised by its `views`."""
        with self.hardware.autocast():
            found = self.model.net(self.hardware.place_images(self.own_view(images)))
        return found.float()[:, self.order]

    def own_view(self, images: Tensor) -> Tensor:
        """The images at the teacher's size, small crops in proportion, with the teacher's mean and deviation."""
        mine, theirs = self.model.preprocessing, self.views
        if (mine.size, mine.mean, mine.std) == (theirs.size, theirs.mean, theirs.std):
            return images
        pixels = images * column(theirs.std, images) + column(theirs.mean, images)
        if mine.size != theirs.size:
            side = max(round(images.shape[-1] * mine.size / theirs.size), self.model.net.smallest)
            pixels = functional.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
        return (pixels - column(mine.mean, images)) / column(mine.std, images)

    def mixed_loss(self, task: Task, loss: Tensor, outputs: Any, images: Tensor) -> Tensor:
        """`loss` and that of the teacher's scores, by their weights."""
        taught = task.distillation_loss(outputs, self.scores(images), self.temperature)
        return (1 - self.weight) * loss + self.weight * taught

    def describe(self) -> str:
        """Who teaches, and how, in a line."""
        return (
            f"teacher {self.origin['run']} ({self.origin['network']}): {self.weight:g} of the loss, "
            f"temperature {self.temperature:g}"
        )


def column(values: tuple[float, ...], images: Tensor) -> Tensor:
    """Values by channel as a tensor that multiplies images (N, C, H, W)."""
    return torch.tensor(values, dtype=images.dtype, device=images.device).view(-1, 1, 1)


def load_teacher(recipe: Recipe, task: Task, views: Preprocessing, hardware: Hardware) -> Teacher:
    """The recipe's teacher for a student of `task` with the preprocessing `views`.

    Raises SkipwayError for a bundle that cannot be used, of another task, with other classes or channels.
    """
    model = TrainedModel.load(Path(recipe.teacher), hardware)
    classes, own = model.card.classes, list(task.classes)
    where = f"--teacher {recipe.teacher}"
    if model.card.task != task.name:
        raise SkipwayError(f"{where} is of the task {model.card.task}, and the data are for {task.name}: give another")
    if sorted(classes) != sorted(own):
        strange = sorted(set(classes) ^ set(own))
        raise SkipwayError(f"{where} has other classes than the data ({', '.join(strange[:5])}): both need the same")
    channels = model.preprocessing.channels
    if channels != views.channels:
        what = f"takes images of {channels} channels, not {views.channels}"
        raise SkipwayError(f"{where} {what}: give --channels {channels}")
    order = torch.tensor([classes.index(name) for name in own], device=hardware.device)
    origin = {
        "run": recipe.teacher,
        "network": model.card.network["name"],
        "weights_sha256": model.card.weights_sha256,
        "parameters": model.card.parameters,
    }
    model.net.requires_grad_(False)
    weight, temperature = recipe.teacher_weight or WEIGHT, recipe.teacher_temperature or TEMPERATURE
    return Teacher(model, views, order, weight, temperature, hardware, origin)
