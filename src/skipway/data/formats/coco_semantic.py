"""Label maps from the objects of a COCO file (Lin 2014, arXiv:1405.0312): polygons and run-length encodings.

A pixel has the class of the smallest object that covers it, since small objects lie before large ones more often than
behind them; crowds are drawn too. Pixels without objects are the background, class 0; the categories follow by rising
id of the training file.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from skipway.data.dataset import Dataset
from skipway.data.formats.annotated_images import AnnotatedBox, AnnotatedImage, AnnotationError, turn
from skipway.data.formats.class_table import ClassRow, ClassTable
from skipway.data.formats.coco import open_files
from skipway.data.formats.coco_masks import area_of
from skipway.data.formats.image_size import ImageSize, Mask
from skipway.data.formats.masked_images import MaskedImage, to_mask_dataset
from skipway.data.mask_encoding import BACKGROUND
from skipway.data.mask_source import MaskSource, ObjectMasks
from skipway.data.read_options import ReadOptions


@dataclass(frozen=True)
class ObjectReader:
    """Draws the objects of an image; values: that of each category's name."""

    listed: AnnotatedImage
    values: dict[str, int]

    def __call__(self, size: ImageSize | None) -> MaskSource:
        """Raises AnnotationError for wrong objects, and if the image cannot be read, whose size they need."""
        if size is None:
            raise AnnotationError("invalid annotation", self.listed.where, "its image cannot be read, nor its size")
        objects = turn(self.listed.read(size), size)
        drawn = [(self.values[one.name], require_mask(one)) for one in objects]
        drawn.sort(key=lambda pair: -area_of(pair[1]))
        return ObjectMasks(
            (size.height, size.width), tuple(value for value, _ in drawn), tuple(mask for _, mask in drawn)
        )


def require_mask(one: AnnotatedBox) -> Mask:
    """The mask of an object. Raises AnnotationError for one with only a box, whose pixels are not known."""
    if one.mask is None:
        raise AnnotationError("invalid annotation", one.where, "the object has a box but no segmentation")
    return one.mask


def by_id(identity: int | str) -> tuple[int, str]:
    """A key that sorts numbers as such, before text."""
    return (identity, "") if isinstance(identity, int) else (sys.maxsize, identity)


def open_coco_semantic(path: Path, reading: ReadOptions) -> Dataset:
    """The data set in a folder, or in a single COCO file. Raises DataError."""
    contents = open_files(path)
    names = [name for content in contents for _, name in sorted(content.names.items(), key=lambda pair: by_id(pair[0]))]
    values = {name: value for value, name in enumerate(dict.fromkeys([BACKGROUND, *names]))}
    table = ClassTable(tuple(ClassRow(name, value) for name, value in values.items()), "the categories of COCO")
    images = (
        MaskedImage(one.split, one.name, one.path, one.where, ObjectReader(one, values))
        for content in contents
        for one in content.images
    )
    faults = [fault for content in contents for fault in content.faults]
    return to_mask_dataset(str(path), images, table, reading.ignore, faults)
