"""Data sets in a folder of images and a folder of masks: PNG files in which the pixels of the i-th object are i, and 0
is the background, as in Penn-Fudan (Wang 2007). All objects are of the class OBJECT.

A mask has the name of its image, perhaps followed by _mask. Both folders may be in train, val and test folders.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from faster_coco_eval.core import mask as coco_mask

from skipway.data.dataset import Dataset
from skipway.data.decode import DECODE_ERRORS, open_image
from skipway.data.formats.annotated_images import (
    AnnotatedBox,
    AnnotatedImage,
    Annotation,
    AnnotationError,
    to_box_dataset,
)
from skipway.data.formats.coco_masks import area_of
from skipway.data.formats.folder import class_folders, images_below, split_folders
from skipway.data.formats.image_size import ImageSize, Mask
from skipway.errors import DataError

OBJECT = "object"
ENDINGS = ("", "_mask", "_masks")
ONE_CHANNEL = ("1", "L", "P", "I", "I;16")


def read_values(file: Path, where: str) -> np.ndarray:
    """The values of a mask, integers (H, W). Raises AnnotationError for a file that is not an image of one channel."""
    try:
        with open_image(file, where) as image:
            if image.mode not in ONE_CHANNEL:
                raise ValueError(f"it has several channels ({image.mode}), and a mask has one")
            return np.asarray(image).astype(np.int64)
    except (*DECODE_ERRORS, DataError) as error:
        reason = str(error) if type(error) is ValueError else "it is not an image that can be read"
        raise AnnotationError("invalid annotation", where, reason) from None


def read_masks(file: Path | None, where: str, size: ImageSize) -> Annotation:
    """The objects in a mask. Raises AnnotationError if there is no mask, or it cannot be read."""
    if file is None:
        raise AnnotationError("invalid annotation", where, "there is no mask of that name")
    values = read_values(file, where)
    objects = []
    for value in np.unique(values[values > 0]):
        mask: Mask = coco_mask.encode(np.asfortranarray(values == value, dtype=np.uint8))
        left, top, width, height = map(float, coco_mask.toBbox(mask))
        box = (left, top, left + width, top + height)
        objects.append(AnnotatedBox(f"{where} object {value}", OBJECT, box, area=area_of(mask), mask=mask))
    return Annotation(where, (values.shape[1], values.shape[0]), objects)


def mask_folders(place: Path) -> tuple[Path, Path]:
    """The folders of images and of masks in `place`. Raises DataError if there are not exactly these two."""
    folders = [folder for folder in class_folders(place) if images_below(folder)]
    masks = [folder for folder in folders if "mask" in folder.name.lower()]
    others = [folder for folder in folders if folder not in masks]
    if len(masks) != 1 or len(others) != 1:
        found = ", ".join(folder.name for folder in folders[:5]) or "none"
        raise DataError(
            f"{place} has folders with images: {found}; --format masks needs two, one of images, and one with mask in "
            f"its name"
        )
    return others[0], masks[0]


def images_of(place: Path, split: str, root: Path) -> Iterator[AnnotatedImage]:
    images, masks = mask_folders(place)
    files = {path.relative_to(masks).with_suffix("").as_posix(): path for path in images_below(masks)}
    for path in images_below(images):
        stem = path.relative_to(images).with_suffix("").as_posix()
        file = next((files[f"{stem}{ending}"] for ending in ENDINGS if f"{stem}{ending}" in files), None)
        where = (file or masks / stem).relative_to(root).as_posix()
        yield AnnotatedImage(split, path.relative_to(root).as_posix(), path, where, partial(read_masks, file, where))


def open_instance_masks(root: Path) -> Dataset:
    """The data set in the folder `root`. Raises DataError."""
    places = split_folders(root) or {"train": root}
    images = (image for split, place in places.items() for image in images_of(place, split, root))
    return to_box_dataset(str(root), images, [OBJECT])
