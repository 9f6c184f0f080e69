"""Object detection data sets, recognised by how their files lie: Pascal VOC, COCO and YOLO.

- Pascal VOC: `Annotations/*.xml` and `JPEGImages/`, also in VOC2007 or VOCdevkit/VOC2007; or XML beside the images.
- COCO: a JSON object of images, annotations and categories, in the folder or in its `annotations/`.
- YOLO: text in `labels/` or beside the images, a line a box; or `data.yaml` with `names:`.

Each may also lie in train, val and test. Of the annotations, the ends of a few files are looked at and nothing is
parsed, so that neither their number nor their size nor what they hold can hold anybody up.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from skipway.data.decode import SUFFIXES
from skipway.data.folder import class_folders, split_folders

WINDOW = 1 << 18  # bytes at the beginning of an annotation file, and as many at its end, that are looked at
SAMPLED = 20  # annotation files of a folder that are looked at, in name order
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

    def refusal(self, root: Path) -> str:
        """What is said of the data set in `root` as long as nothing here detects objects: one line."""
        images, files = "image" + "s" * (self.images != 1), "file" + "s" * (self.annotations != 1)
        return (
            f"{root} is a {self.format} object detection data set ({self.images:,} {images}, {self.annotations:,} "
            f"{self.ending} {files} of annotations), and this version trains classification only: give each class a "
            "folder of its images, or list images and their classes in a CSV with columns path and label"
        )


def names_in(folder: Path) -> list[str]:
    """The visible names in `folder`, in order; none where it is no folder that may be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError:
        return []


def ending_in(names: list[str], *endings: str) -> list[str]:
    return [name for name in names if name.lower().endswith(endings)]


def called(names: list[str], *wanted: str) -> list[str]:
    """Those of `names` that are one of `wanted`, in any case, in the order of `wanted`."""
    return [name for one in wanted for name in names if len(name) == len(one) and name.lower() == one]


def images_below(folder: Path) -> int:
    """How many visible images `folder` and its folders hold."""
    return sum(not name.startswith(".") for _, _, files in os.walk(folder) for name in ending_in(files, *SUFFIXES))


def ends_of(file: Path) -> bytes:
    """The first WINDOW bytes of a file and the last; none of what is no file that may be read."""
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
    return bool(VOC_XML.search(ends_of(file)))


def is_coco(file: Path) -> bool:
    """Whether a JSON file's ends show COCO's lists, or one of them and the fields of a box: the other lists may begin
    between the ends."""
    text = ends_of(file)
    lists = sum(bool(found.search(text)) for found in COCO_LISTS)
    return lists == len(COCO_LISTS) or (lists > 0 and all(field in text for field in COCO_FIELDS))


def is_yolo(file: Path) -> bool:
    """Whether a text's first line is a class number and a box or polygon. A text without lines may be an image's
    without objects, and says nothing."""
    return bool(YOLO_LINE.fullmatch(ends_of(file).lstrip().partition(b"\n")[0]))


def is_yolo_yaml(file: Path) -> bool:
    text = ends_of(file)
    return all(found.search(text) for found in YOLO_YAML)


def find_voc(place: Path, names: list[str]) -> DetectionLayout | None:
    """XML in Annotations beside JPEGImages (or images); or XML beside the images themselves."""
    folder, pictures = called(names, "annotations"), called(names, "jpegimages", "images")
    apart = bool(folder and pictures)
    annotations, images = (place / folder[0], place / pictures[0]) if apart else (place, place)
    files = ending_in(names_in(annotations) if apart else names, ".xml")
    if not any(is_voc(annotations / file) for file in files[:SAMPLED]):
        return None
    return DetectionLayout("Pascal VOC", "XML", images_below(images), len(files))


def find_coco(place: Path, names: list[str]) -> DetectionLayout | None:
    """JSON in `place` or in its annotations, with the images wherever below."""
    folders = {place: names} | {place / name: names_in(place / name) for name in called(names, "annotations")}
    files = [folder / name for folder, held in folders.items() for name in ending_in(held, ".json")[:SAMPLED]]
    count = sum(map(is_coco, files))
    return DetectionLayout("COCO", "JSON", images_below(place), count) if count else None


def label_texts(place: Path) -> Iterator[Path]:
    """The text files in and below folders called labels, and those that have an image's name and lie beside it."""
    for parent, _, files in os.walk(place):
        stems = {name.rpartition(".")[0] for name in ending_in(files, *SUFFIXES)}
        below_labels = "labels" in Path(parent).relative_to(place).parts
        texts = (name for name in sorted(ending_in(files, ".txt")) if below_labels or name[: -len(".txt")] in stems)
        yield from (Path(parent, name) for name in texts)


def find_yolo(place: Path, names: list[str]) -> DetectionLayout | None:
    """Text of boxes in labels or beside the images, or a YAML file that names classes and where images are."""
    described = any(is_yolo_yaml(place / name) for name in ending_in(names, ".yaml", ".yml")[:SAMPLED])
    if not described and not any(map(is_yolo, islice(label_texts(place), SAMPLED))):
        return None
    return DetectionLayout("YOLO", "text", images_below(place), sum(1 for _ in label_texts(place)))


def holds_image(folder: Path) -> bool:
    return any(ending_in(files, *SUFFIXES) for _, _, files in os.walk(folder))


def has_classes(root: Path) -> bool:
    """Whether two folders or more that hold images have names that can be classes' names: such a folder is a data set
    for classification, whatever else lies in it."""
    folders = class_folders(split_folders(root).get("train", root))
    own = (folder for folder in folders if not NOT_CLASSES.fullmatch(folder.name))
    return len(list(islice(filter(holds_image, own), 2))) == 2


def places_in(root: Path) -> Iterator[Path]:
    """The folders below `root` in which a data set, or its splits, may begin."""
    folders = class_folders(root)
    yield from split_folders(root).values()
    for folder in folders:
        if len(folders) == 1 or re.fullmatch(r"voc(devkit|\d{4})", folder.name, re.IGNORECASE):
            yield folder
            yield from (f for f in class_folders(folder) if re.fullmatch(r"voc\d{4}", f.name, re.IGNORECASE))


def find_detection_layout(root: Path) -> DetectionLayout | None:
    """The layout of the object detection data set in the folder `root`; None where it is none that is known here, and
    for class folders, whatever lies beside them. Raises DataError for a folder that may not be read."""
    if has_classes(root):
        return None
    for places in ([root], dict.fromkeys(places_in(root))):
        held = [(place, names_in(place)) for place in places]
        for find in (find_voc, find_coco, find_yolo):
            found = [layout for place, names in held if (layout := find(place, names))]
            if found:
                images, annotations = sum(one.images for one in found), sum(one.annotations for one in found)
                return DetectionLayout(found[0].format, found[0].ending, images, annotations)
    return None
