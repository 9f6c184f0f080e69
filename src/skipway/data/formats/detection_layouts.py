"""Recognise object detection data sets by their file layout: Pascal VOC, COCO and YOLO.

- Pascal VOC: `Annotations/*.xml` and `JPEGImages/`, also in VOC2007 or VOCdevkit/VOC2007; or XML next to the images.
- COCO: a JSON object of images, annotations and categories, in the folder or in its `annotations/`.
- YOLO: text in `labels/` or next to the images, one line per box; or `data.yaml` with `names:`.

Each may also be in train, val and test folders. Only the start and end of a few annotation files are read and nothing
is parsed, so that neither their number nor their size nor their contents can slow this down.
"""

import os
import re
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from skipway.data.decode import SUFFIXES
from skipway.data.formats.folder import class_folders, split_folders
from skipway.errors import DataError

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


def voc_folders(place: Path) -> tuple[Path, Path] | None:
    """The folders of annotations and of images in `place`: Annotations and JPEGImages (or images); or `place` itself
    twice if XML is next to the images. None if there is no XML."""
    names = names_in(place)
    folder, pictures = matching_names(names, "annotations"), matching_names(names, "jpegimages", "images")
    if folder and pictures and with_suffix(names_in(place / folder[0]), ".xml"):
        return place / folder[0], place / pictures[0]
    return (place, place) if with_suffix(names, ".xml") else None


def has_voc(place: Path) -> bool:
    found = voc_folders(place)
    return found is not None and any(
        is_voc(found[0] / file) for file in with_suffix(names_in(found[0]), ".xml")[:SAMPLED]
    )


def json_files(place: Path) -> list[Path]:
    """The first JSON files in `place` and in its annotations folder, in name order."""
    folders = [place, *(place / name for name in matching_names(names_in(place), "annotations"))]
    return [folder / name for folder in folders for name in with_suffix(names_in(folder), ".json")[:SAMPLED]]


def coco_files(place: Path) -> list[Path]:
    """Those of `json_files` that are COCO's."""
    return [file for file in json_files(place) if is_coco(file)]


def label_texts(place: Path) -> Iterator[Path]:
    """The text files in and below folders called labels, and those next to an image of the same name."""
    for parent, _, files in os.walk(place):
        stems = {name.rpartition(".")[0] for name in with_suffix(files, *SUFFIXES)}
        below_labels = "labels" in Path(parent).relative_to(place).parts
        texts = (name for name in sorted(with_suffix(files, ".txt")) if below_labels or name[: -len(".txt")] in stems)
        yield from (Path(parent, name) for name in texts)


def yolo_yamls(place: Path) -> list[Path]:
    """The YAML files in `place` with class names and image paths, in name order."""
    files = [place / name for name in with_suffix(names_in(place), ".yaml", ".yml")[:SAMPLED]]
    return [file for file in files if is_yolo_yaml(file)]


def has_yolo(place: Path) -> bool:
    """Text files with boxes in labels or next to the images, or a YAML file with class names and image paths."""
    return bool(yolo_yamls(place)) or any(map(is_yolo, islice(label_texts(place), SAMPLED)))


LAYOUTS: dict[str, Callable[[Path], bool]] = {
    "voc": has_voc,
    "coco": lambda place: bool(coco_files(place)),
    "yolo": has_yolo,
}


def contains_image(folder: Path) -> bool:
    return any(with_suffix(files, *SUFFIXES) for _, _, files in os.walk(folder))


def has_classes(root: Path) -> bool:
    """Whether at least two folders with images have names that may be class names: then `root` is a classification
    data set, whatever else it contains."""
    folders = class_folders(split_folders(root).get("train", root))
    own = (folder for folder in folders if not NOT_CLASSES.fullmatch(folder.name))
    return len(list(islice(filter(contains_image, own), 2))) == 2


def candidate_folders(root: Path) -> list[Path]:
    """The folders below `root` that may contain a data set or its splits: split folders, the years of Pascal VOC, and
    an only folder."""
    folders, found = class_folders(root), list(split_folders(root).values())
    for folder in folders:
        if len(folders) == 1 or re.fullmatch(r"voc(devkit|\d{4})", folder.name, re.IGNORECASE):
            found.append(folder)
            found += [f for f in class_folders(folder) if re.fullmatch(r"voc\d{4}", f.name, re.IGNORECASE)]
    return list(dict.fromkeys(found))


def find_detection_format(root: Path) -> str | None:
    """The format of the object detection data set in the folder `root`, a key of LAYOUTS; None if it is not a known
    one, and for class folders, whatever is next to them.

    Raises DataError for annotations in several formats, and for a folder without read permission.
    """
    if has_classes(root):
        return None
    for folders in ([root], candidate_folders(root)):
        found = [name for name, has in LAYOUTS.items() if any(map(has, folders))]
        if len(found) > 1:
            raise DataError(f"{root} has annotations in the formats {' and '.join(found)}: choose one by --format")
        if found:
            return found[0]
    return None
