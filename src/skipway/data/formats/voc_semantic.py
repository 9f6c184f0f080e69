"""Data sets with label maps in Pascal VOC's layout: JPEGImages, SegmentationClass and ImageSets/Segmentation
(Everingham 2010, IJCV 88).

Values are palette indices, 0 is the background, and 255, drawn around objects, has no class. Folders that are called
VOC2012 or VOCdevkit have the challenge's classes; in others, a table of classes beside the masks names them.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from skipway.data.dataset import Dataset
from skipway.data.formats.class_table import ClassRow, ClassTable, find_class_table
from skipway.data.formats.detection_layouts import candidate_folders, matching_names, names_in
from skipway.data.formats.folder import split_folders
from skipway.data.formats.mask_folders import by_stem, reader_of
from skipway.data.formats.masked_images import MaskedImage, to_mask_dataset
from skipway.data.formats.voc import lists_of, stems_listed
from skipway.data.read_options import ReadOptions
from skipway.errors import DataError

CLASSES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
OFFICIAL = ClassTable(tuple(ClassRow(name, value) for value, name in enumerate(CLASSES)), "the VOC challenge")
MASKS = ("segmentationclasspng", "segmentationclass")  # the first is of labelme, which keeps arrays in the second
IMAGES = ("jpegimages", "images")


class SegmentationFolder(NamedTuple):
    """The folders of images and masks in `place`, the lists of images by split, and the split if there are none."""

    place: Path
    images: Path
    masks: Path
    lists: dict[str, Path]
    split: str


def segmentation_folders(root: Path) -> list[SegmentationFolder]:
    """The folders with masks: `root` or, if it has none, its splits, or the years of the challenge."""
    splits = {folder: split for split, folder in split_folders(root).items()}
    for places in ([root], candidate_folders(root)):
        found = []
        for place in places:
            names = names_in(place)
            masks, images = matching_names(names, *MASKS), matching_names(names, *IMAGES)
            if masks and images:
                split, lists = splits.get(place, "train"), {} if place in splits else lists_of(place, "segmentation")
                found.append(SegmentationFolder(place, place / images[0], place / masks[0], lists, split))
        if found:
            return found
    return []


def images_of(held: SegmentationFolder, root: Path) -> Iterator[MaskedImage]:
    """The images in the lists of a folder, or else those with a mask. Raises DataError for an unreadable list."""
    images, masks = by_stem(held.images), by_stem(held.masks)
    listed = [(split, *one) for split, file in held.lists.items() for one in stems_listed(file)]
    for split, stem, line in listed or [(held.split, stem, "") for stem in sorted(masks)]:
        found, files = masks.get(stem, []), images.get(stem, [None])
        where = (found[0] if found else held.masks / stem).relative_to(root).as_posix()
        path = files[0]
        name = path.relative_to(root).as_posix() if path else stem
        yield MaskedImage(split, name, path, where if found or path else line or where, reader_of(found, where))


def open_voc_semantic(root: Path, reading: ReadOptions) -> Dataset:
    """The data set in the folder `root`. Raises DataError if it has no masks, and for lists that cannot be read."""
    places = segmentation_folders(root)
    if not places:
        raise DataError(f"{root} has no VOC masks: put images into JPEGImages and masks into SegmentationClass")
    table = find_class_table(reading.class_names, [root, *(held.place for held in places)])
    called = [part for held in places for part in held.place.absolute().parts[-2:]]
    if table is None and any(re.fullmatch(r"voc(devkit|\d{4})", part, re.IGNORECASE) for part in called):
        table = OFFICIAL
    return to_mask_dataset(
        str(root), (image for held in places for image in images_of(held, root)), table, reading.ignore
    )
