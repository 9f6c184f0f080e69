"""Images for a report on detection: those with the most errors, the truth beside what was found."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skipway.data.preprocess import Preprocessing
from skipway.reporting.pictures import as_rgb, as_uri, shrunk
from skipway.tasks.detect.drawing import draw_objects
from skipway.tasks.detect.evaluation import DetectEvaluation
from skipway.tasks.detect.matching import KINDS
from skipway.tasks.detect.prediction import Object, objects_of

WORST = 10  # images
SIDE = 420  # pixels of the longer side on the page
QUALITY = 70  # of WebP


@dataclass(frozen=True)
class Pair:
    """An image on the page: what is in it and what was found, as data URIs of `width` x `height` pixels; errors: in
    words."""

    name: str
    truth: str
    found: str
    width: int
    height: int
    errors: str


def gallery(evaluation: DetectEvaluation, preprocessing: Preprocessing) -> list[Pair]:
    """The WORST images by the number of errors at the threshold. Raises DataError for an unreadable one."""
    errors = evaluation.kinds.sum(1)
    places = np.argsort(-errors, kind="stable")[:WORST]
    return [pair(evaluation, preprocessing, int(place)) for place in places if errors[place]]


def pair(evaluation: DetectEvaluation, preprocessing: Preprocessing, place: int) -> Pair:
    name, item = evaluation.names[place], evaluation.scored.images.items[place]
    image = as_rgb(preprocessing.decoded(item, name).permute(1, 2, 0).numpy())
    pictures = [
        draw_objects(image, objects, evaluation.classes, scores) for objects, scores in sides(evaluation, place)
    ]
    small = [shrunk(picture, SIDE) for picture in pictures]
    kinds = zip(evaluation.kinds[place].tolist(), KINDS, strict=True)
    said = ", ".join(f"{count} {kind}" for count, kind in kinds if count)
    return Pair(name, as_uri(small[0], QUALITY), as_uri(small[1], QUALITY), *small[0].size, said)


def sides(evaluation: DetectEvaluation, place: int) -> list[tuple[Sequence[Object], bool]]:
    """The objects of the image, and those found above the threshold, with whether they have scores."""
    targets, classes = evaluation.targets, evaluation.classes
    rows = targets.rows(place)
    masks = targets.masks[rows] if targets.masks is not None else [None] * (rows.stop - rows.start)
    held = zip(targets.labels[rows].tolist(), targets.boxes[rows].tolist(), masks, strict=True)
    truth = [Object(classes[label], 1.0, tuple(box), mask) for label, box, mask in held]
    height, width = targets.sizes[place].tolist()
    found = objects_of(evaluation.found[place].above(evaluation.threshold), classes, (height, width))
    return [(truth, False), (found, True)]
