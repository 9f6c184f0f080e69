"""Annotations for object detection: the boxes of each image, and optionally their masks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skipway.data.targets import Targets
from skipway.errors import DataError

NO_LABEL = -1  # of the rows that fill up an image's boxes to those of the image with the most


class Boxes(NamedTuple):
    """The boxes of one image, or of a batch, filled up to the same number.

    boxes: float32 (..., M, 4), left, top, right and bottom in pixels of the upright image; labels: int64 (..., M),
    NO_LABEL where there is no box; crowd: bool (..., M), boxes of groups, which are not learned and cost no precision;
    areas: float32 (..., M) in pixels, of the object where it was annotated, otherwise of its box; sizes: float32
    (..., 2), height and width of the image.
    """

    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    areas: Tensor
    sizes: Tensor


@dataclass(frozen=True, eq=False)
class BoxTargets(Targets):
    """Any number of boxes per image, of n images with K boxes altogether.

    counted: int64 (n,), boxes per image; boxes: float64 (K, 4), left, top, right, bottom in pixels of the upright
    image, whose first pixel covers 0 to 1; labels: int64 (K,); crowd: bool (K,); areas: float64 (K,) square pixels;
    sizes: int64 (n, 2), height and width in pixels; masks: for each box its COCO run-length encoding ({"size": [h, w],
    "counts": bytes}), or None; None if there are no masks at all. corrected: int64 (n, 2), boxes per image that were
    clipped to the image, and that were left out for lack of area, when the annotations were read; None: not known.
    """

    task: ClassVar[str] = "detect"
    counted: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    sizes: np.ndarray
    masks: tuple[dict[str, Any] | None, ...] | None = None
    corrected: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.counted)

    @cached_property
    def starts(self) -> np.ndarray:
        """The row of each image's first box, and at the end the number of boxes, (n + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counted)])

    def rows(self, place: int) -> slice:
        """The rows of an image's boxes."""
        starts = self.starts
        return slice(int(starts[place]), int(starts[place + 1]))

    def take(self, indices: np.ndarray) -> "BoxTargets":
        starts = self.starts
        ranges = [np.arange(starts[i], starts[i + 1]) for i in indices]
        rows = np.concatenate(ranges) if ranges else np.empty(0, dtype=np.int64)
        masks = None if self.masks is None else tuple(self.masks[row] for row in rows)
        parts = (self.boxes[rows], self.labels[rows], self.crowd[rows], self.areas[rows])
        corrected = None if self.corrected is None else self.corrected[indices]
        return BoxTargets(self.counted[indices], *parts, self.sizes[indices], masks, corrected)

    @cached_property
    def most(self) -> int:
        """The number of boxes of the image with the most, at least 1."""
        return max(int(self.counted.max(initial=0)), 1)

    def item(self, place: int) -> Boxes:
        rows, most = self.rows(place), self.most
        count = rows.stop - rows.start

        def filled(values: np.ndarray, fill: float, dtype: torch.dtype) -> Tensor:
            whole = torch.full((most, *values.shape[1:]), fill, dtype=dtype)
            whole[:count] = torch.from_numpy(values[rows]).to(dtype)
            return whole

        return Boxes(
            filled(self.boxes, 0, torch.float32),
            filled(self.labels, NO_LABEL, torch.int64),
            filled(self.crowd, False, torch.bool),
            filled(self.areas, 0, torch.float32),
            torch.from_numpy(self.sizes[place]).float(),
        )

    def tensor(self) -> Boxes:
        items = [self.item(place) for place in range(len(self))]
        return Boxes(*(torch.stack(parts) for parts in zip(*items, strict=True)))

    def digest(self) -> bytes:
        arrays = (self.counted, self.boxes, self.labels, self.crowd, self.areas, self.sizes)
        kinds = ("<i8", "<f8", "<i8", "u1", "<f8", "<i8")
        plain = b"boxes" + b"".join(a.astype(kind).tobytes() for a, kind in zip(arrays, kinds, strict=True))
        return plain + b"".join(b"-" if mask is None else mask["counts"] for mask in self.masks or ())

    def counts(self, classes: int) -> np.ndarray:
        """Images per class; an image with several classes counts for each."""
        pairs = np.unique(np.stack([np.repeat(np.arange(len(self)), self.counted), self.labels]), axis=1)
        return np.bincount(pairs[1], minlength=classes)

    def classes_of(self, place: int) -> tuple[int, ...]:
        return tuple(np.unique(self.labels[self.rows(place)]).tolist())

    def members(self, label: int) -> np.ndarray:
        return np.unique(np.repeat(np.arange(len(self)), self.counted)[self.labels == label])

    def relabel(self, to: np.ndarray, classes: int) -> "BoxTargets":
        return replace(self, labels=to[self.labels])

    def require_learnable(self, name: str, classes: tuple[str, ...]) -> None:
        if not len(self.labels):
            raise DataError(f"{name} has no boxes in its training images: check the annotations, or name another")


def from_images(
    per_image: Sequence[Sequence[tuple[Sequence[float], int, bool, float, dict[str, Any] | None]]],
    sizes: Sequence[tuple[int, int]],
) -> BoxTargets:
    """Targets from (box, label, crowd, area, mask) of each image's objects, and each image's (height, width)."""
    objects = [one for objects in per_image for one in objects]
    masks = tuple(one[4] for one in objects)
    return BoxTargets(
        np.array([len(objects) for objects in per_image], dtype=np.int64),
        np.array([one[0] for one in objects], dtype=np.float64).reshape(-1, 4),
        np.array([one[1] for one in objects], dtype=np.int64),
        np.array([one[2] for one in objects], dtype=bool),
        np.array([one[3] for one in objects], dtype=np.float64),
        np.array(sizes, dtype=np.int64).reshape(-1, 2),
        masks if any(mask is not None for mask in masks) else None,
    )
