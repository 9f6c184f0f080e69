"""Presentation of detected objects: tables, JSON, CSV, HTTP."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from PIL.Image import Image

from skipway.tasks.detect.prediction import Object, ObjectPrediction
from skipway.tasks.presenter import Presenter
from skipway.tasks.rle import rle_json

SIDES = ("left", "top", "right", "bottom")
DIGITS = 2  # decimals of a pixel in files


class DetectPresenter(Presenter):
    """For boxes, with or without masks."""

    table_columns: ClassVar[tuple[str, ...]] = ("objects", "classes", "best")

    def table_row(self, prediction: ObjectPrediction) -> tuple[str, ...]:
        counts = Counter(one.label for one in prediction.objects)
        best = prediction.objects[0] if prediction.objects else None
        shown = f"{best.label} {best.score:.2f} at {', '.join(f'{side:.0f}' for side in best.box)}" if best else ""
        return str(len(prediction.objects)), ", ".join(f"{n} {name}" for name, n in counts.most_common()), shown

    def row(self, prediction: ObjectPrediction | None) -> dict[str, Any]:
        height, width = prediction.size if prediction else (0, 0)
        objects = [as_json(one) for one in prediction.objects] if prediction else []
        return {"width": width, "height": height, "objects": objects}

    def csv_header(self, top: int) -> list[str]:
        return ["class", "score", *SIDES]

    def csv_rows(self, prediction: ObjectPrediction | None, top: int) -> list[list[Any]]:
        """A row for each object; one of empty fields for an image without any."""
        rows = [[one.label, one.score, *rounded(one)] for one in prediction.objects] if prediction else []
        return rows or [[""] * (2 + len(SIDES))]

    def draw(self, image: Image, prediction: ObjectPrediction, classes: Sequence[str]) -> Image:
        from skipway.tasks.detect.drawing import draw_objects

        return draw_objects(image, prediction.objects, classes)

    def coco(self, prediction: ObjectPrediction, classes: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Categories are numbered from 1, in the order of `classes`."""
        height, width = prediction.size
        objects = []
        for one in prediction.objects:
            left, top, right, bottom = one.box
            box = [left, top, right - left, bottom - top]
            mask = as_json(one).get("mask")
            objects.append(
                {
                    "category_id": list(classes).index(one.label) + 1,
                    "bbox": [round(side, DIGITS) for side in box],
                    "score": one.score,
                    "area": box[2] * box[3],
                    "iscrowd": 0,
                    **({"segmentation": mask} if mask else {}),
                }
            )
        return {"width": width, "height": height}, objects

    def schema(self) -> dict[str, Any]:
        from skipway.tasks.detect.schema import FoundObject

        return {"width": (int, ...), "height": (int, ...), "objects": (list[FoundObject], ...)}

    def figure_of(self, metrics: Mapping[str, Any]) -> tuple[str, str, str]:
        return f"{100 * metrics['ap']:.1f}", "box AP", f"AP50 {100 * metrics['ap50']:.1f}"


def rounded(one: Object) -> list[float]:
    """The box's sides with DIGITS decimals."""
    return [round(side, DIGITS) for side in one.box]


def as_json(one: Object) -> dict[str, Any]:
    """An object as plain values."""
    found: dict[str, Any] = {"class": one.label, "score": one.score, "box": dict(zip(SIDES, rounded(one), strict=True))}
    if one.mask is not None:
        found["mask"] = rle_json(one.mask)
    return found
