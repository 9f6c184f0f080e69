"""Annotations for semantic segmentation: a label map for each image, read when it is needed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skipway.data.mask_encoding import BACKGROUND, IGNORE, MaskEncoding, plain_encoding
from skipway.data.mask_source import MaskError, MaskSource, count_values, read_values
from skipway.data.quality.inspect import UPRIGHT
from skipway.data.stratified_split import multilabel_stratified_indices
from skipway.data.targets import Targets
from skipway.errors import DataError

__all__ = ["IGNORE", "LabelMaps", "MaskTargets", "from_label_maps", "mark_of"]

MARK = 16  # bytes of a mask's digest


class LabelMaps(NamedTuple):
    """The label maps of a batch, at the images' own sizes; or, without N, that of one image.

    labels: uint8 (N, H, W), class indices and IGNORE; height and width are the largest of the batch, and what is beside
    an image is IGNORE; sizes: int64 (N, 2), height and width of each image.
    """

    labels: Tensor
    sizes: Tensor


@dataclass(frozen=True, eq=False)
class MaskTargets(Targets):
    """A label map for each of n images, which stays where it is stored.

    masks: where each is read from; encoding: how its values become labels; sizes: int64 (n, 2), height and width of the
    upright image; pixels: int64 (n, classes + 1), the pixels of each class, and last those of IGNORE; turned: int64
    (n,), the EXIF orientation that a mask is turned by as its image is, 1 where it is upright already; marks: uint8
    (n, 16), a digest of each mask's values; lookup: uint8 (256,), the label of each label of the encoding.
    """

    task: ClassVar[str] = "segment"
    masks: Sequence[MaskSource]
    encoding: MaskEncoding
    sizes: np.ndarray
    pixels: np.ndarray
    turned: np.ndarray
    marks: np.ndarray
    lookup: np.ndarray

    def __len__(self) -> int:
        return len(self.sizes)

    def take(self, indices: np.ndarray) -> "MaskTargets":
        return replace(
            self,
            masks=[self.masks[i] for i in indices],
            sizes=self.sizes[indices],
            pixels=self.pixels[indices],
            turned=self.turned[indices],
            marks=self.marks[indices],
        )

    def label_map(self, place: int) -> np.ndarray:
        """The labels of an image, uint8 (H, W), upright. Raises DataError if its mask has changed since it was
        verified, or can no longer be read."""
        source = self.masks[place]
        try:
            labels = self.encoding.encode(read_values(source, self.encoding.coloured))
        except MaskError as error:
            raise DataError(
                f"{name_of(source)} cannot be used any more ({error}): restore it and start again"
            ) from None
        orientation = int(self.turned[place])
        if orientation != 1:
            labels = UPRIGHT[orientation](labels)
        if labels.shape != tuple(self.sizes[place]):
            size = "{1} x {0}".format(*labels.shape)
            raise DataError(f"{name_of(source)} now has {size} pixels: restore it and start again")
        return np.ascontiguousarray(self.lookup[labels])

    def item(self, place: int) -> LabelMaps:
        """The label map of one image, uint8 (H, W), and its size, int64 (2,)."""
        return LabelMaps(torch.from_numpy(self.label_map(place)), torch.from_numpy(self.sizes[place]))

    def tensor(self) -> LabelMaps:
        """All label maps. They are read, and as large as the largest: for a few images."""
        height, width = (int(side) for side in self.sizes.max(axis=0, initial=0))
        labels = torch.full((len(self), height, width), IGNORE, dtype=torch.uint8)
        for place in range(len(self)):
            own = torch.from_numpy(self.label_map(place))
            labels[place, : own.shape[0], : own.shape[1]] = own
        return LabelMaps(labels, torch.from_numpy(self.sizes))

    def digest(self) -> bytes:
        code = repr((self.encoding.values, self.encoding.labels, self.encoding.coloured)).encode()
        renumbered = self.lookup[np.array(self.encoding.labels, dtype=np.int64)]
        arrays = ((renumbered, "u1"), (self.sizes, "<i8"), (self.turned, "<i8"), (self.marks, "u1"))
        return b"masks" + code + b"".join(array.astype(kind).tobytes() for array, kind in arrays)

    @property
    def present(self) -> np.ndarray:
        """bool (n, classes): whether an image has pixels of a class."""
        return self.pixels[:, :-1] > 0

    def counts(self, classes: int) -> np.ndarray:
        """Images that have pixels of each class; an image with several classes counts for each."""
        return self.present.sum(0, dtype=np.int64)

    def classes_of(self, place: int) -> tuple[int, ...]:
        return tuple(np.flatnonzero(self.present[place]).tolist())

    def members(self, label: int) -> np.ndarray:
        return np.flatnonzero(self.present[:, label])

    def hold_out(self, classes: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
        """Indices of about `fraction` of the images that have pixels of each class."""
        return multilabel_stratified_indices(self.present.astype(np.uint8), classes, fraction, rng)

    def relabel(self, to: np.ndarray, classes: int) -> "MaskTargets":
        table = np.full(256, IGNORE, dtype=np.uint8)
        table[: len(to)] = to
        pixels = np.zeros((len(self), classes + 1), dtype=np.int64)
        pixels[:, to] = self.pixels[:, :-1]
        pixels[:, -1] = self.pixels[:, -1]
        return replace(self, lookup=table[self.lookup], pixels=pixels)

    def facts(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """ignore: the values of masks that are not learnt; background: the class of that name, or empty; masks: what
        the values are."""
        ignored = [self.encoding.shown(value) for value in self.encoding.ignored]
        background = BACKGROUND if BACKGROUND in classes else ""
        return {"ignore": ignored, "background": background, "masks": self.encoding.description}

    def require_learnable(self, name: str, classes: tuple[str, ...]) -> None:
        found = np.flatnonzero(self.present.any(0))
        if len(found) < 2:
            what = f"only the class '{classes[int(found[0])]}'" if len(found) else "no class"
            raise DataError(
                f"{name} has {what} in the masks of its training images: segmentation needs at least two classes"
            )


def name_of(source: MaskSource) -> str:
    """A mask in messages."""
    return f"the mask {source}" if isinstance(source, Path) else "the mask of an image"


def mark_of(values: np.ndarray) -> np.ndarray:
    """A digest of a mask's values, uint8 (16,), the same for every type of integer."""
    digest = blake2b(repr(values.shape).encode(), digest_size=MARK)
    digest.update(np.ascontiguousarray(values, dtype="u1" if values.max() < 256 else "<i4").tobytes())
    return np.frombuffer(digest.digest(), dtype=np.uint8)


def from_label_maps(maps: Sequence[np.ndarray], classes: int) -> MaskTargets:
    """Targets from label maps in memory: upright, uint8 (H, W) each, class indices and IGNORE.

    Raises MaskError for other labels.
    """
    encoding = plain_encoding(classes)
    counts = [count_values(one) for one in maps]
    for one in counts:
        encoding.require_known(one)
    return MaskTargets(
        list(maps),
        encoding,
        np.array([one.shape for one in maps], dtype=np.int64).reshape(-1, 2),
        np.array([encoding.pixels(one, classes) for one in counts], dtype=np.int64).reshape(-1, classes + 1),
        np.ones(len(maps), dtype=np.int64),
        np.array([mark_of(one) for one in maps], dtype=np.uint8).reshape(-1, MARK),
        np.arange(256, dtype=np.uint8),
    )
