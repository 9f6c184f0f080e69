"""Presentation of the classes of pixels: tables, JSON, CSV, label maps, HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from skipway.reporting.numbers import interval, percent
from skipway.reporting.palette import palette
from skipway.tasks.presenter import Presenter
from skipway.tasks.rle import rle_json, rle_of
from skipway.tasks.segment.polygons import polygons_of
from skipway.tasks.segment.prediction import SegmentPrediction

NAMED = 4  # classes in a row of the table
LONGEST = 1_000_000  # characters of an image's masks in JSON


@dataclass(frozen=True)
class SegmentPresenter(Presenter):
    """For a class of each pixel. polygons: whether `row` has the outlines of the classes."""

    polygons: bool = False

    table_columns: ClassVar[tuple[str, ...]] = ("class", "share", "next")

    def table_row(self, prediction: SegmentPrediction) -> tuple[str, ...]:
        (name, share), *others = prediction.shares.items()
        rest = [f"{other} {100 * part:.1f} %" for other, part in others[:NAMED]]
        more = [f"{len(others) - NAMED} more"] if len(others) > NAMED else []
        return name, f"{100 * share:.1f} %", ", ".join([*rest, *more])

    def row(self, prediction: SegmentPrediction | None) -> dict[str, Any]:
        """segments: class, share and mask, and with `polygons` the outlines at the image's own size, of each class that
        is present, the largest first."""
        if prediction is None or prediction.labels is None:
            return {"width": 0, "height": 0, "segments": []}
        height, width = prediction.size
        masks = encoded_masks(prediction)
        segments = [{"class": name, "share": part, "mask": masks[name]} for name, part in prediction.shares.items()]
        if self.polygons:
            for one in segments:
                one["polygons"] = polygons_of(prediction.labels == prediction.classes.index(one["class"]))
        return {"width": width, "height": height, "segments": segments}

    def csv_header(self, top: int) -> list[str]:
        return ["class", "pixels", "share"]

    def csv_rows(self, prediction: SegmentPrediction | None, top: int) -> list[list[Any]]:
        """A row for each class that is present, the largest first."""
        if prediction is None:
            return [[""] * 3]
        pixels = dict(zip(prediction.classes, prediction.pixels.tolist(), strict=True))
        return [[name, pixels[name], share] for name, share in prediction.shares.items()]

    def draw(self, image: Image.Image, prediction: SegmentPrediction, classes: Sequence[str]) -> Image.Image:
        """The classes in colour over the image, and below it a legend with their shares."""
        from skipway.tasks.segment.drawing import overlaid, with_legend

        assert prediction.labels is not None
        drawn = overlaid(image, prediction.labels, len(classes))
        return with_legend(
            drawn, {list(classes).index(name): share for name, share in prediction.shares.items()}, classes
        )

    def with_polygons(self) -> "SegmentPresenter":
        return replace(self, polygons=True)

    def mask(self, prediction: SegmentPrediction) -> Image.Image:
        assert prediction.labels is not None
        picture = Image.fromarray(np.ascontiguousarray(prediction.labels))
        picture.putpalette(palette(len(prediction.classes)).tobytes())  # makes it an image with a palette
        return picture

    def coco(
        self, prediction: SegmentPrediction, classes: Sequence[str]
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """An annotation for each class that is present. Categories are numbered from 1, in the order of `classes`."""
        from faster_coco_eval.core import mask as coco_mask

        assert prediction.labels is not None
        height, width = prediction.size
        objects = []
        for label in np.flatnonzero(prediction.pixels).tolist():
            encoded = rle_of(prediction.labels == label)
            objects.append(
                {
                    "category_id": list(classes).index(prediction.classes[label]) + 1,
                    "bbox": coco_mask.toBbox(encoded).tolist(),
                    "area": int(prediction.pixels[label]),
                    "iscrowd": 0,
                    "segmentation": rle_json(encoded),
                }
            )
        return {"width": width, "height": height}, objects

    def schema(self) -> dict[str, Any]:
        from skipway.tasks.segment.schema import Segment

        return {"width": (int, ...), "height": (int, ...), "segments": (list[Segment], ...)}

    def figure_of(self, metrics: Mapping[str, Any]) -> tuple[str, str, str]:
        return percent(metrics["miou"]), "mean IoU", f"95\u00a0% interval {interval(metrics['miou_interval'])}"


def encoded_masks(prediction: SegmentPrediction) -> dict[str, dict[str, Any]]:
    """The mask of each class that is present as plain values.

    Of every other pixel, and of every other of these, until all together have at most LONGEST characters: the run
    lengths of a picture of noise are as many as its pixels.
    """
    labels = prediction.labels
    assert labels is not None
    present = np.flatnonzero(prediction.pixels).tolist()
    while True:
        found = {prediction.classes[label]: rle_json(rle_of(labels == label)) for label in present}
        if sum(len(mask["counts"]) for mask in found.values()) <= LONGEST:
            return found
        labels = labels[::2, ::2]
