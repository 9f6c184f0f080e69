"""The objects that a network finds in an image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from skipway.tasks.detect.detected import Detected
from skipway.tasks.presenter import Prediction


class Object(NamedTuple):
    """A detected object: its class, score in [0, 1], box (left, top, right, bottom) in pixels of the original image,
    and its mask as COCO's run-length encoding, None for networks of boxes."""

    label: str
    score: float
    box: tuple[float, float, float, float]
    mask: dict[str, Any] | None = None


def objects_of(found: Detected, classes: Sequence[str], size: tuple[int, int]) -> tuple[Object, ...]:
    """The detections in an image of `size` (height, width) pixels as objects, with the names of their classes."""
    masks: Sequence[dict[str, Any] | None] = [None] * len(found.labels)
    if found.masks is not None:
        from skipway.tasks.detect.masks import paste_masks  # faster-coco-eval, which boxes do not need

        masks = paste_masks(found, size)
    rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), masks, strict=True)
    return tuple(Object(classes[i], score, tuple(box), mask) for i, score, box, mask in rows)


@dataclass(frozen=True, repr=False)
class ObjectPrediction(Prediction):
    """The objects in order of decreasing score, or why the image could not be read; size: its height and width."""

    objects: tuple[Object, ...] = ()
    size: tuple[int, int] = (0, 0)

    def __repr__(self) -> str:
        if self.error:
            return f"Prediction({self.name!r}, error={self.error!r})"
        labels = ", ".join(f"{one.label} {one.score:.2f}" for one in self.objects[:3])
        more = f", {len(self.objects) - 3} more" if len(self.objects) > 3 else ""
        return f"Prediction({self.name!r}, {len(self.objects)} objects: {labels}{more})"

    def _repr_html_(self) -> str:
        from skipway.reporting import notebook

        rows = [(one.label, f"{one.score:.2f}") for one in self.objects]
        boxes = [notebook.Box(one.label, one.box) for one in self.objects]
        return notebook.prediction(self.name, self.error, rows or [("objects", "none")], self.size, boxes)
