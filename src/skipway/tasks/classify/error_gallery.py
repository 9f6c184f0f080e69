"""Images for a report, the worst mistakes and the least certain predictions.

Each is shown as the network received it, and again with the Grad-CAM heat map of its prediction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from skipway.attribution.gradcam import grad_cam
from skipway.attribution.heatmap import overlay
from skipway.data.preprocess import Preprocessing
from skipway.models.base import Network
from skipway.reporting.pictures import as_rgb, as_uri
from skipway.tasks.base import Explain
from skipway.tasks.classify.evaluation import ClassEvaluation

WORST, UNSURE = 12, 8  # images
SIDE = 144  # pixels of a picture on the page
QUALITY = 75  # of WebP


@dataclass(frozen=True)
class Tile:
    """An image on the page. truth, predicted: class names; target: the class of the heat map, with its probability.

    picture, heat: data URIs; heat is None where several networks were averaged.
    """

    name: str
    truth: str
    predicted: str
    target: str
    probability: float
    picture: str
    heat: str | None


@dataclass(frozen=True)
class Gallery:
    worst: tuple[Tile, ...]
    unsure: tuple[Tile, ...]


def explain_with(net: Network, preprocessing: Preprocessing, device: torch.device) -> Explain:
    """Grad-CAM of `net`, which is on `device`."""

    def explain(images: Tensor, targets: Tensor) -> Tensor:
        return grad_cam(net, preprocessing.normalised(images.to(device)), targets.to(device))

    return explain


def losses(evaluation: ClassEvaluation) -> np.ndarray:
    """The loss of each prediction in nats at the card's temperature: (n,), or (n, classes) for several labels."""
    scores, labels = evaluation.scored.scores / evaluation.temperature, torch.from_numpy(evaluation.labels)
    if evaluation.several:
        return F.binary_cross_entropy_with_logits(scores, labels.float(), reduction="none").numpy()
    return F.cross_entropy(scores, labels, reduction="none").numpy()


def worst(evaluation: ClassEvaluation) -> np.ndarray:
    """Indices of the wrong predictions, the highest loss first."""
    costs = losses(evaluation).reshape(len(evaluation.labels), -1).mean(1)
    order = np.argsort(-costs, kind="stable")
    return order[~evaluation.correct[order]]


def unsure(evaluation: ClassEvaluation) -> np.ndarray:
    """All indices, the least certain first: the closest two best classes, or the label closest to 50 %."""
    probabilities = evaluation.probabilities
    if evaluation.several:
        return np.argsort(np.abs(probabilities - 0.5).min(1), kind="stable")
    second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
    return np.argsort(first - second, kind="stable")


def target(evaluation: ClassEvaluation, place: int, of_worst: bool) -> int:
    """The class to explain: the predicted one; of several labels the one of highest loss, or the closest to 50 %."""
    if not evaluation.several:
        return int(evaluation.predicted[place])
    if of_worst:
        return int(losses(evaluation)[place].argmax())
    return int(np.abs(evaluation.probabilities[place] - 0.5).argmin())


def class_names(evaluation: ClassEvaluation, label: np.ndarray | np.integer) -> str:
    """A class number, or a row of 0 and 1, as names."""
    if not evaluation.several:
        return evaluation.classes[int(label)]
    return ", ".join(evaluation.classes[i] for i in np.flatnonzero(label)) or "none"


def enlarged(image: Tensor) -> np.ndarray:
    """uint8 (C, H, W) -> (SIDE, SIDE, 3): the first three channels, or the first as grey; no smoothing."""
    how = Image.Resampling.NEAREST if image.shape[1] < SIDE else Image.Resampling.LANCZOS
    return np.asarray(as_rgb(image.permute(1, 2, 0).numpy()).resize((SIDE, SIDE), how))


def tiles(
    evaluation: ClassEvaluation,
    places: Sequence[int],
    of_worst: bool,
    preprocessing: Preprocessing,
    explain: Explain | None,
) -> tuple[Tile, ...]:
    """A tile for each of `places`."""
    found = []
    for place in places:
        name, wanted = evaluation.names[place], target(evaluation, place, of_worst)
        image = preprocessing.open(evaluation.scored.images.items[place], name)
        pixels, heat = enlarged(image), None
        if explain is not None:
            heat_map = explain(image[None], torch.tensor([wanted]))[None]
            heat_map = F.interpolate(heat_map, (SIDE, SIDE), mode="bilinear", align_corners=False)[0, 0]
            heat = as_uri(Image.fromarray(overlay(pixels, heat_map.numpy())), QUALITY)
        truth = class_names(evaluation, evaluation.labels[place])
        predicted = class_names(evaluation, evaluation.predicted[place])
        probability = float(evaluation.probabilities[place, wanted])
        shown = as_uri(Image.fromarray(pixels), QUALITY)
        found.append(Tile(name, truth, predicted, evaluation.classes[wanted], probability, shown, heat))
    return tuple(found)


def gallery(evaluation: ClassEvaluation, preprocessing: Preprocessing, explain: Explain | None) -> Gallery:
    """The WORST mistakes by loss and the UNSURE least certain images. Raises DataError for an unreadable one."""
    chosen = worst(evaluation)[:WORST].tolist(), unsure(evaluation)[:UNSURE].tolist()
    first, second = (tiles(evaluation, places, i == 0, preprocessing, explain) for i, places in enumerate(chosen))
    return Gallery(first, second)
