"""Images for a report on segmentation: the worst and the best, their truth, their prediction and where they differ."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from skipway.data.mask_targets import IGNORE
from skipway.data.preprocess import Preprocessing
from skipway.reporting.palette import palette
from skipway.reporting.pictures import as_rgb, as_uri
from skipway.tasks.segment.drawing import coloured, differences
from skipway.tasks.segment.evaluation import SegmentEvaluation, predicted_map

WORST, BEST = 8, 4  # images
SIDE = 320  # pixels of the longer side on the page
QUALITY = 75  # of WebP


@dataclass(frozen=True)
class Panel:
    """A picture on the page: what it shows, and its data URI."""

    what: str
    picture: str


@dataclass(frozen=True)
class Row:
    """An image on the page, in panels of `width` x `height` pixels; miou and wrong in [0, 1], the second the share of
    its pixels that are predicted wrongly."""

    name: str
    miou: float
    wrong: float
    width: int
    height: int
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Gallery:
    """The images of lowest and highest mean IoU; legend: (class, colour) of every class that the pictures show."""

    worst: tuple[Row, ...]
    best: tuple[Row, ...]
    legend: tuple[tuple[str, str], ...]


def gallery(evaluation: SegmentEvaluation, preprocessing: Preprocessing) -> Gallery:
    """The WORST images with a wrong pixel, and the BEST of the others. Raises DataError for an unreadable one."""
    order = np.argsort(evaluation.image_miou, kind="stable")
    order = order[evaluation.images.confusion[order].any((1, 2))]  # not images whose every pixel is ignored
    worst = [place for place in order[:WORST].tolist() if wrong_share(evaluation, place)]
    best = order[len(worst) :][::-1][:BEST].tolist()
    seen: set[int] = set()
    rows = [[row(evaluation, preprocessing, place, seen) for place in places] for places in (worst, best)]
    colours = palette(len(evaluation.classes))
    legend = [(evaluation.classes[label], as_hex(colours[label])) for label in sorted(seen)]
    return Gallery(tuple(rows[0]), tuple(rows[1]), tuple(legend))


def wrong_share(evaluation: SegmentEvaluation, place: int) -> float:
    """The share of an image's pixels, without ignored ones, of which another class is predicted."""
    counts = evaluation.images.confusion[place]
    return float(1 - np.trace(counts) / max(counts.sum(), 1))


def row(evaluation: SegmentEvaluation, preprocessing: Preprocessing, place: int, seen: set[int]) -> Row:
    """An image's panels, SIDE pixels on the longer side; adds its classes to `seen`."""
    name, item, count = evaluation.names[place], evaluation.scored.images.items[place], len(evaluation.classes)
    predicted = predicted_map(evaluation, place)
    height, width = (int(side) for side in evaluation.targets.sizes[place])
    scale = SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    image = as_rgb(preprocessing.decoded(item, name).permute(1, 2, 0).numpy()).resize(size, Image.Resampling.LANCZOS)
    truth, found = (of_size(labels, size) for labels in (evaluation.targets.label_map(place), predicted))
    seen.update(np.union1d(truth[truth != IGNORE], found).tolist())
    panels = (
        Panel("image", as_uri(image, QUALITY)),
        Panel("truth", as_uri(coloured(truth, count), None)),
        Panel("prediction", as_uri(coloured(found, count), None)),
        Panel("differences", as_uri(differences(image, truth, found), QUALITY)),
    )
    return Row(name, float(evaluation.image_miou[place]), wrong_share(evaluation, place), *size, panels)


def of_size(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A label map resized to `size` (width, height), each pixel with the class at its centre."""
    return np.asarray(Image.fromarray(np.ascontiguousarray(labels)).resize(size, Image.Resampling.NEAREST))


def as_hex(colour: Sequence[int] | np.ndarray) -> str:
    """Red, green and blue from 0 to 255 as #rrggbb."""
    return "#" + "".join(f"{int(part):02x}" for part in colour)
