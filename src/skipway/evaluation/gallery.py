"""The images that say most about a network, small enough for a page: its worst mistakes, and where it hardly knew.

Each is shown as the network was given it, and once more with what spoke for its answer (Grad-CAM).
"""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from skipway.data.preprocess import Preprocessing
from skipway.evaluation.evaluate import Evaluation
from skipway.models.contract import Network
from skipway.tasks.gradcam import grad_cam
from skipway.tasks.overlay import overlay

WORST, UNSURE = 12, 8  # images
SIDE = 144  # pixels of a picture on the page
QUALITY = 75  # of WebP

Explain = Callable[[Tensor, Tensor], Tensor]  # uint8 images (N, C, H, W), classes (N,) -> heat (N, H, W) in [0, 1]


@dataclass(frozen=True)
class Tile:
    """An image on the page. truth, said: class names; target: the class that heat is for, with its probability.

    picture, heat: data URIs; heat is None where several networks judged.
    """

    name: str
    truth: str
    said: str
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


def losses(evaluation: Evaluation) -> np.ndarray:
    """What each answer costs in nats at the card's temperature: (n,) of a class, (n, classes) of several labels."""
    scores, labels = evaluation.scored.scores / evaluation.temperature, torch.from_numpy(evaluation.labels)
    if evaluation.several:
        return F.binary_cross_entropy_with_logits(scores, labels.float(), reduction="none").numpy()
    return F.cross_entropy(scores, labels, reduction="none").numpy()


def worst(evaluation: Evaluation) -> np.ndarray:
    """The places of the wrong answers, the costliest first."""
    costs = losses(evaluation).reshape(len(evaluation.labels), -1).mean(1)
    order = np.argsort(-costs, kind="stable")
    return order[~evaluation.right[order]]


def unsure(evaluation: Evaluation) -> np.ndarray:
    """All places, the least certain first: the closest two best classes, or the label closest to even odds."""
    probabilities = evaluation.probabilities
    if evaluation.several:
        return np.argsort(np.abs(probabilities - 0.5).min(1), kind="stable")
    second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
    return np.argsort(first - second, kind="stable")


def target(evaluation: Evaluation, place: int, of_worst: bool) -> int:
    """The class to explain: the answer; of several labels the costliest, or the one closest to even odds."""
    if not evaluation.several:
        return int(evaluation.said[place])
    if of_worst:
        return int(losses(evaluation)[place].argmax())
    return int(np.abs(evaluation.probabilities[place] - 0.5).argmin())


def named(evaluation: Evaluation, answer: np.ndarray | np.integer) -> str:
    """A class number, or a row of 0 and 1, as names."""
    if not evaluation.several:
        return evaluation.classes[int(answer)]
    return ", ".join(evaluation.classes[i] for i in np.flatnonzero(answer)) or "none"


def as_uri(pixels: np.ndarray) -> str:
    """uint8 (H, W, 3) as a data URI."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def enlarged(image: Tensor) -> np.ndarray:
    """uint8 (C, H, W) -> (SIDE, SIDE, 3): the first three channels, or the first as grey; pixels stay pixels."""
    shown = (image if len(image) >= 3 else image[:1].expand(3, -1, -1))[:3].permute(1, 2, 0).numpy()
    how = Image.Resampling.NEAREST if image.shape[1] < SIDE else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(np.ascontiguousarray(shown)).resize((SIDE, SIDE), how))


def tiles(
    evaluation: Evaluation, places: Sequence[int], of_worst: bool, preprocessing: Preprocessing, explain: Explain | None
) -> tuple[Tile, ...]:
    """A tile for each of `places`."""
    made = []
    for place in places:
        name, wanted = evaluation.names[place], target(evaluation, place, of_worst)
        image = preprocessing.open(evaluation.scored.images.items[place], name)
        pixels, heat = enlarged(image), None
        if explain is not None:
            warmth = explain(image[None], torch.tensor([wanted]))[None]
            warmth = F.interpolate(warmth, (SIDE, SIDE), mode="bilinear", align_corners=False)[0, 0]
            heat = as_uri(overlay(pixels, warmth.numpy()))
        truth, said = named(evaluation, evaluation.labels[place]), named(evaluation, evaluation.said[place])
        probability = float(evaluation.probabilities[place, wanted])
        made.append(Tile(name, truth, said, evaluation.classes[wanted], probability, as_uri(pixels), heat))
    return tuple(made)


def gallery(evaluation: Evaluation, preprocessing: Preprocessing, explain: Explain | None) -> Gallery:
    """The WORST costliest mistakes and the UNSURE least certain images. Raises DataError for an unreadable one."""
    chosen = worst(evaluation)[:WORST].tolist(), unsure(evaluation)[:UNSURE].tolist()
    first, second = (tiles(evaluation, places, i == 0, preprocessing, explain) for i, places in enumerate(chosen))
    return Gallery(first, second)
