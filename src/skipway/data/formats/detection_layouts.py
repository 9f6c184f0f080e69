"""Recognise object detection data sets by their file layout: Pascal VOC, COCO and YOLO.

- Pascal VOC: `Annotations/*.xml` and `JPEGImages/`, also in VOC2007 or VOCdevkit/VOC2007; or XML next to the images.
- COCO: a JSON object of images, annotations and categories, in the folder or in its `annotations/`.
- YOLO: text in `labels/` or next to the images, one line per box; or `data.yaml` with `names:`.

Each may also be in train, val and test folders. Only the start and end of a few annotation files are read and nothing
is parsed, so that neither their number nor their size nor their contents can slow this down.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from skipway.data.decode import SUFFIXES
from skipway.data.formats.folder import class_folders, split_folders

WINDOW = 1 << 18  # bytes that are read at the start and at the end of an annotation file
SAMPLED = 20  # annotation files of a folder that are inspected, in name order
NOT_CLASSES = re.compile(
    r"images?|imgs?|jpegimages|labels?|annotations?|imagesets|segmentation(class|object)|voc(devkit|\d{4})"
    r"|(train|val|valid|test)(-?\d{4})?",
    re.IGNORECASE,
)
VOC_XML = re.compile(rb"<annotation[\s>]")
COCO_LISTS = [re.compile(rb'"%s"\s*:\s*\[' % key) for key in (b"images", b"annotations", b"categories")]
COCO_FIELDS = (b'"bbox"', b'"image_id"', b'"category_id"')
YOLO_LINE = re.compile(rb"\s*\d+(\s+-?[0-9.]+(e-?\d+)?){4,}\s*")  # a class, and a box or a polygon
YOLO_YAML = (re.compile(rb"^names\s*:", re.MULTILINE), re.compile(rb"^(train|val|path|nc)\s*:", re.MULTILINE))


@dataclass(frozen=True)
class DetectionLayout:
    """`format`: Pascal VOC, COCO or YOLO; `annotations`: files with boxes, whose names end in `ending`."""

    format: str
    ending: str
    images: int
    annotations: int

    def error_message(self, root: Path) -> str:
        """The error message for the data set in `root`, since object detection is not supported: one line."""
        images, files = "image" + "s" * (self.images != 1), "file" + "s" * (self.annotations != 1)
        return (
            f"{root} is a {self.format} object detection data set ({self.images:,} {images}, {self.annotations:,} "
            f"{self.ending} {files} of annotations), and this version supports only classification: put the images of "
            "each class into a folder, or list images and their classes in a CSV with columns path and label"
        )


def names_in(folder: Path) -> list[str]:
    """The visible names in `folder`, in order; empty if it is not a readable folder."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError:
        return []


def with_suffix(names: list[str], *endings: str) -> list[str]:
    return [name for name in names if name.lower().endswith(endings)]


def matching_names(names: list[str], *wanted: str) -> list[str]:
    """The `names` that equal one of `wanted`, ignoring case, in the order of `wanted`."""
    return [name for one in wanted for name in names if len(name) == len(one) and name.lower() == one]


def images_below(folder: Path) -> int:
    """The number of visible images in `folder` and below."""
    return sum(not name.startswith(".") for _, _, files in os.walk(folder) for name in with_suffix(files, *SUFFIXES))


def read_ends(file: Path) -> bytes:
    """The first and last WINDOW bytes of a file; empty if it is not a readable file."""
    try:
        if not file.is_file():
            return b""
        with file.open("rb") as stream:
            head = stream.read(WINDOW)
            stream.seek(max(WINDOW, file.stat().st_size - WINDOW))
            return head + b"\n" + stream.read(WINDOW)
    except OSError:
        return b""


def is_voc(file: Path) -> bool:
    return bool(VOC_XML.search(read_ends(file)))


def is_coco(file: Path) -> bool:
    """Whether the start and end of a JSON file show COCO's lists, or one list and the fields of a box: the other lists
    may begin in between."""
    text = read_ends(file)
    lists = sum(bool(found.search(text)) for found in COCO_LISTS)
    return lists == len(COCO_LISTS) or (lists > 0 and all(field in text for field in COCO_FIELDS))


def is_yolo(file: Path) -> bool:
    """Whether the first line of a text file is a class number and a box or polygon. An empty file may belong to an
    image without objects, and is no evidence."""
    return bool(YOLO_LINE.fullmatch(read_ends(file).lstrip().partition(b"\n")[0]))


def is_yolo_yaml(file: Path) -> bool:
    text = read_ends(file)
    return all(found.search(text) for found in YOLO_YAML)


def find_voc(place: Path, names: list[str]) -> DetectionLayout | None:
    """XML in Annotations next to JPEGImages (or images); or XML next to the images themselves."""
    folder, pictures = matching_names(names, "annotations"), matching_names(names, "jpegimages", "images")
    separate = bool(folder and pictures)
    annotations, images = (place / folder[0], place / pictures[0]) if separate else (place, place)
    files = with_suffix(names_in(annotations) if separate else names, ".xml")
    if not any(is_voc(annotations / file) for file in files[:SAMPLED]):
        return None
    return DetectionLayout("Pascal VOC", "XML", images_below(images), len(files))


def find_coco(place: Path, names: list[str]) -> DetectionLayout | None:
    """JSON in `place` or in its annotations folder, with images at any depth below."""
    folders = {place: names} | {place / name: names_in(place / name) for name in matching_names(names, "annotations")}
    files = [folder / name for folder, held in folders.items() for name in with_suffix(held, ".json")[:SAMPLED]]
    count = sum(map(is_coco, files))
    return DetectionLayout("COCO", "JSON", images_below(place), count) if count else None


def label_texts(place: Path) -> Iterator[Path]:
    """The text files in and below folders called labels, and those next to an image of the same name."""
    for parent, _, files in os.walk(place):
        stems = {name.rpartition(".")[0] for name in with_suffix(files, *SUFFIXES)}
        below_labels = "labels" in Path(parent).relative_to(place).parts
        texts = (name for name in sorted(with_suffix(files, ".txt")) if below_labels or name[: -len(".txt")] in stems)
        yield from (Path(parent, name) for name in texts)


def find_yolo(place: Path, names: list[str]) -> DetectionLayout | None:
    """Text files with boxes in labels or next to the images, or a YAML file with class names and image paths."""
    described = any(is_yolo_yaml(place / name) for name in with_suffix(names, ".yaml", ".yml")[:SAMPLED])
    if not described and not any(map(is_yolo, islice(label_texts(place), SAMPLED))):
        return None
    return DetectionLayout("YOLO", "text", images_below(place), sum(1 for _ in label_texts(place)))


def contains_image(folder: Path) -> bool:
    return any(with_suffix(files, *SUFFIXES) for _, _, files in os.walk(folder))


def has_classes(root: Path) -> bool:
    """Whether at least two folders with images have names that may be class names: then `root` is a classification
    data set, whatever else it contains."""
    folders = class_folders(split_folders(root).get("train", root))
    own = (folder for folder in folders if not NOT_CLASSES.fullmatch(folder.name))
    return len(list(islice(filter(contains_image, own), 2))) == 2


def candidate_folders(root: Path) -> Iterator[Path]:
    """The folders below `root` that may contain a data set or its splits."""
    folders = class_folders(root)
    yield from split_folders(root).values()
    for folder in folders:
        if len(folders) == 1 or re.fullmatch(r"voc(devkit|\d{4})", folder.name, re.IGNORECASE):
            yield folder
            yield from (f for f in class_folders(folder) if re.fullmatch(r"voc\d{4}", f.name, re.IGNORECASE))


def find_detection_layout(root: Path) -> DetectionLayout | None:
    """The layout of the object detection data set in the folder `root`; None if it is not a known one, and for class
    folders, whatever is next to them. Raises DataError for a folder without read permission."""
    if has_classes(root):
        return None
    for folders in ([root], dict.fromkeys(candidate_folders(root))):
        held = [(place, names_in(place)) for place in folders]
        for find in (find_voc, find_coco, find_yolo):
            found = [layout for place, names in held if (layout := find(place, names))]
            if found:
                images, annotations = sum(one.images for one in found), sum(one.annotations for one in found)
                return DetectionLayout(found[0].format, found[0].ending, images, annotations)
    return None
