"""Images with boxes, as the formats list them, verified and made into a data set with `BoxTargets`.

An image with a wrong annotation is in no split: learning from the rest of its boxes would teach that its other objects
are background. Only two things are corrected, and counted: a box that is partly outside is clipped, and one without
area, which often is an accidental click, is left out.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from skipway.data.box_targets import from_images
from skipway.data.dataset import Dataset, Split
from skipway.data.formats.image_size import Box, ImageSize, Mask, read_size, upright_box, upright_mask
from skipway.data.label_encoding import sort_classes
from skipway.errors import DataError, printable

DECIMALS = 6  # of a pixel: in every format the same box is the same number, whatever it was computed from
SHOWN = 40  # characters of a wrong value in a message


class AnnotationError(Exception):
    """A wrong annotation: a category of issues.CATEGORIES, where it is (file, and line or object), and what it is."""

    def __init__(self, category: str, where: str, what: str) -> None:
        super().__init__(printable(f"{category}: {where}: {what}"))


@dataclass(frozen=True)
class AnnotatedBox:
    """One object as annotated: `where` (file, and line or object), its class, box, whether it is a crowd, and its area
    and mask if the format has them."""

    where: str
    name: str
    box: Box
    crowd: bool = False
    area: float | None = None
    mask: Mask | None = None


@dataclass(frozen=True)
class Annotation:
    """The objects of one image, on an image of width and height `recorded`; None if the format does not record them."""

    where: str
    recorded: tuple[int, int] | None
    objects: Sequence[AnnotatedBox]


@dataclass(frozen=True)
class AnnotatedImage:
    """An image of a split: its name; its file, None if it does not exist; where it is listed; and `read`, which returns
    its annotation for the image's size. `read` raises AnnotationError."""

    split: str
    name: str
    path: Path | None
    where: str
    read: Callable[[ImageSize], Annotation]


@dataclass(frozen=True)
class ReadImage:
    """An image with sound boxes, upright; corrected: how many were clipped, and how many left out for lack of area."""

    path: Path
    name: str
    size: ImageSize
    objects: Sequence[AnnotatedBox]
    corrected: tuple[int, int]


def shown(value: object) -> str:
    """A wrong value in a message: on one line, and not longer than SHOWN characters."""
    text = printable(repr(value)) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def turn(annotation: Annotation, size: ImageSize) -> Sequence[AnnotatedBox]:
    """The objects on the upright image. Raises AnnotationError if the recorded size is neither that of the upright nor
    that of the stored image."""
    if annotation.recorded in (None, (size.width, size.height)):
        return annotation.objects
    if annotation.recorded != size.stored:
        recorded = "{} x {}".format(*annotation.recorded)
        raise AnnotationError(
            "size mismatch",
            annotation.where,
            f"the recorded size is {recorded} pixels, and the image has {size.width} x {size.height}",
        )
    return [
        replace(one, box=upright_box(one.box, size), mask=one.mask and upright_mask(one.mask, size))
        for one in annotation.objects
    ]


def clip(one: AnnotatedBox, size: ImageSize) -> AnnotatedBox | None:
    """`one` within the image; None if it has no area. Raises AnnotationError for corners in the wrong order and for a
    box that is entirely outside."""
    left, top, right, bottom = (round(value, DECIMALS) for value in one.box)
    if right < left or bottom < top:
        what = f"left {left:g} is right of {right:g}" if right < left else f"top {top:g} is below {bottom:g}"
        raise AnnotationError("inverted box", one.where, what)
    if right == left or bottom == top:
        return None
    if left >= size.width or top >= size.height or right <= 0 or bottom <= 0:
        what = f"({left:g}, {top:g}) to ({right:g}, {bottom:g}) in an image of {size.width} x {size.height} pixels"
        raise AnnotationError("box outside the image", one.where, what)
    box = (max(left, 0.0), max(top, 0.0), min(right, float(size.width)), min(bottom, float(size.height)))
    area = round((box[2] - box[0]) * (box[3] - box[1]), DECIMALS)
    if one.area is not None:
        area = one.area if box == (left, top, right, bottom) else min(one.area, area)
    return replace(one, box=box, area=area)


def read_image(listed: AnnotatedImage) -> ReadImage:
    """The image with its verified boxes. Raises AnnotationError.

    If its header cannot be read, it has no boxes; the check reports it as it does any unreadable image.
    """
    if listed.path is None:
        raise AnnotationError("missing image", listed.where, "there is no such image")
    size = read_size(listed.path)
    if size is None:
        return ReadImage(listed.path, listed.name, ImageSize(0, 0), (), (0, 0))
    objects = turn(listed.read(size), size)
    fitted = [clip(one, size) for one in objects]
    kept = [one for one in fitted if one is not None]
    changed = (one is not None and one.box != rounded(was.box) for one, was in zip(fitted, objects, strict=True))
    return ReadImage(listed.path, listed.name, size, kept, (sum(changed), len(fitted) - len(kept)))


def rounded(box: Box) -> tuple[float, ...]:
    return tuple(round(value, DECIMALS) for value in box)


def read_all(images: Iterable[AnnotatedImage]) -> tuple[dict[str, list[ReadImage]], list[tuple[str, str, str]]]:
    """The sound images by split, by name, and (split, name, reason) of the others; of an image that is listed twice,
    nothing is used: its objects may be in either place."""
    listed: dict[tuple[str, str], list[AnnotatedImage]] = {}
    for image in images:
        listed.setdefault((image.split, image.name), []).append(image)
    sound: dict[str, list[ReadImage]] = {}
    bad: list[tuple[str, str, str]] = []
    for (split, name), entries in sorted(listed.items(), key=lambda pair: pair[0]):
        try:
            if len(entries) > 1:
                raise AnnotationError("image listed twice", entries[1].where, f"{name} was listed before")
            sound.setdefault(split, []).append(read_image(entries[0]))
        except AnnotationError as error:
            bad.append((split, printable(name), str(error)))
    return sound, bad


def to_split(images: Sequence[ReadImage], classes: Sequence[str]) -> Split:
    index = {name: label for label, name in enumerate(classes)}
    targets = from_images(
        [
            [(one.box, index[one.name], one.crowd, one.area or 0.0, one.mask) for one in image.objects]
            for image in images
        ],
        [(image.size.height, image.size.width) for image in images],
    )
    corrected = np.array([image.corrected for image in images], dtype=np.int64).reshape(-1, 2)
    return Split([image.path for image in images], replace(targets, corrected=corrected), [i.name for i in images])


def to_box_dataset(
    name: str,
    images: Iterable[AnnotatedImage],
    declared: Iterable[str] = (),
    faults: Iterable[tuple[str, str, str]] = (),
) -> Dataset:
    """The data set `name`. Its classes are those `declared` by the format and those of the objects, in order of their
    names, so that they have the same numbers in every format. `faults`: (split, name, reason) of images that could not
    even be listed; a split of which all images are wrong is empty. Raises DataError if there are no images at all.
    """
    sound, found = read_all(images)
    bad = (*faults, *found)
    if not sound and not bad:
        raise DataError(f"{name} has annotations but no images: put the images beside them")
    used = {one.name for held in sound.values() for image in held for one in image.objects}
    classes = sort_classes({*declared, *used})
    keys = dict.fromkeys(["train", *sound, *(split for split, _, _ in bad)])
    splits = {split: to_split(sound.get(split, ()), classes) for split in keys}
    return Dataset(name, classes, splits["train"], splits.get("val"), splits.get("test"), bad_annotations=bad)
