"""Data sets in Pascal VOC's layout: an XML file for each image (Everingham 2010, IJCV 88).

Corners are pixels counted from 1, both included; `difficult` objects are read as crowds, since the challenge neither
trains on them nor counts them. Splits are those of ImageSets/Main, or train, val and test folders.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from xml.parsers import expat

from skipway.data.dataset import Dataset
from skipway.data.formats.annotated_images import (
    AnnotatedBox,
    AnnotatedImage,
    Annotation,
    AnnotationError,
    shown,
    to_box_dataset,
)
from skipway.data.formats.detection_layouts import candidate_folders, matching_names, names_in, voc_folders, with_suffix
from skipway.data.formats.folder import images_below, split_folders
from skipway.data.formats.image_size import ImageSize
from skipway.errors import DataError

CORNERS = ("xmin", "ymin", "xmax", "ymax")
MAX_BYTES = 1 << 24  # of an annotation file
LINE = "line"  # attribute that holds the line where an element starts, for those of NAMED
NAMED = ("object", "size")


class VocFolder(NamedTuple):
    """The folders of annotations and of images; the lists of images by split; empty if all images are in train, or in
    the split that the folder itself is for."""

    annotations: Path
    images: Path
    lists: dict[str, Path]
    split: str = "train"


def parse_xml(content: bytes) -> ET.Element:
    """The root element; those that messages name have their line in the attribute LINE.

    Raises ValueError, also for a document type: only with one can a small file expand to gigabytes, or read others.
    """
    builder, parser = ET.TreeBuilder(), expat.ParserCreate()

    def refuse(*declaration: Any) -> None:
        raise ValueError("it declares a document type or entities, which annotations do not need")

    def start(tag: str, attributes: dict[str, str]) -> None:
        builder.start(tag, {LINE: str(parser.CurrentLineNumber)} if tag in NAMED else {})

    parser.StartElementHandler = start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise ValueError(f"line {error.lineno} is not valid XML ({expat.ErrorString(error.code)})") from None
    except (LookupError, UnicodeError) as error:
        raise ValueError(f"its encoding is not known ({error})") from None
    return builder.close()


def text_of(element: ET.Element, name: str) -> str:
    """The text of a child, without white space around it; empty if there is none."""
    return (element.findtext(name) or "").strip()


def number_of(element: ET.Element, name: str, where: str) -> float:
    """The number in a child. Raises AnnotationError if it is missing or not finite."""
    text = text_of(element, name)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise AnnotationError("invalid annotation", where, f"{name} is {shown(text)}, not a number")
    return value


def read_object(element: ET.Element, where: str) -> AnnotatedBox:
    """An `object` element as a box. Raises AnnotationError."""
    name, bounds = text_of(element, "name"), element.find("bndbox")
    if not name or not name.isprintable():
        raise AnnotationError("invalid annotation", where, f"the object's name is {shown(name)}")
    if bounds is None:
        raise AnnotationError("invalid annotation", where, "the object has no bndbox")
    left, top, right, bottom = (number_of(bounds, corner, where) for corner in CORNERS)
    if right < left or bottom < top:
        what = f"xmin {left:g} is above xmax {right:g}" if right < left else f"ymin {top:g} is above ymax {bottom:g}"
        raise AnnotationError("inverted box", where, what)
    # equal corners would be one pixel; tools write them for a click, and nobody annotates single pixels
    box = (left - 1, top - 1, left - 1 if left == right else right, top - 1 if top == bottom else bottom)
    return AnnotatedBox(where, name, box, crowd=text_of(element, "difficult") == "1")


def read_annotation(file: Path, where: str) -> Annotation:
    """The annotation in an XML file, `where` in messages. Raises AnnotationError."""
    try:
        if not file.is_file():
            raise ValueError("there is no such annotation file")
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
        root = parse_xml(file.read_bytes())
        if root.tag != "annotation":
            raise ValueError(f"its element is {shown(root.tag)}, not 'annotation'")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise AnnotationError("invalid annotation", where, str(reason)) from None
    size, recorded = root.find("size"), None
    if size is not None:
        width, height = (number_of(size, name, f"{where} line {size.get(LINE)}") for name in ("width", "height"))
        recorded = (int(width), int(height))
    objects = [read_object(element, f"{where} line {element.get(LINE)}") for element in root.findall("object")]
    return Annotation(where, recorded, objects)


def lists_of(place: Path, task: str = "main") -> dict[str, Path]:
    """The lists of images in ImageSets/Main by split, or in those of another `task`; trainval is for training if there
    is no train."""
    sets = [place / name for name in matching_names(names_in(place), "imagesets")]
    folders = [folder / name for folder in sets for name in matching_names(names_in(folder), task)]
    files = {path.stem: path for folder in folders for path in sorted(folder.glob("*.txt"))}
    chosen = {"train": files.get("train", files.get("trainval")), "val": files.get("val"), "test": files.get("test")}
    if "train" not in files and "trainval" in files:
        chosen["val"] = None  # its images are in trainval
    return {split: file for split, file in chosen.items() if file is not None}


def voc_places(root: Path) -> list[VocFolder]:
    """The folders with annotations: `root` or, if it has none, its splits, or the years of the challenge."""
    found = voc_folders(root)
    if found:
        return [VocFolder(*found, lists_of(root))]
    splits = {folder: split for split, folder in split_folders(root).items()}
    places = [(place, voc_folders(place)) for place in candidate_folders(root)]
    return [
        VocFolder(*found, {} if place in splits else lists_of(place), splits.get(place, "train"))
        for place, found in places
        if found
    ]


def stems_listed(file: Path) -> Iterator[tuple[str, str]]:
    """The images in a list, without suffix, and where each is. Raises DataError for a list that is not text."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        raise DataError(f"{file} cannot be read as UTF-8 text: correct it") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield line.split()[0], f"{file.name} line {number}"


def stems_by_split(held: VocFolder, stems: list[str]) -> Iterator[tuple[str, str, str]]:
    """Split, image without suffix, and where it is listed. Raises DataError for a list that is not text."""
    if not held.lists:
        yield from ((held.split, stem, str(held.annotations.name)) for stem in stems)
    for split, file in held.lists.items():
        yield from ((split, stem, where) for stem, where in stems_listed(file))


def images_of(held: VocFolder, root: Path) -> Iterator[AnnotatedImage]:
    """The images of a folder, each with its XML. Raises DataError for an unreadable folder or list."""
    images = {path.relative_to(held.images).with_suffix("").as_posix(): path for path in images_below(held.images)}
    files = {name[: -len(".xml")]: held.annotations / name for name in with_suffix(names_in(held.annotations), ".xml")}
    for split, stem, where in stems_by_split(held, sorted({*images, *files})):
        path = images.get(stem)
        file = files.get(stem, held.annotations / f"{stem}.xml")
        shown_file = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.name
        name = path.relative_to(root).as_posix() if path else stem

        def read(size: ImageSize, file: Path = file, where: str = shown_file) -> Annotation:
            return read_annotation(file, where)

        yield AnnotatedImage(split, name, path, shown_file if stem in files else where, read)


def open_voc(root: Path) -> Dataset:
    """The data set in the folder `root`. Raises DataError if it has no XML, and for lists that cannot be read."""
    places = voc_places(root)
    if not places:
        raise DataError(f"{root} has no Pascal VOC annotations: put XML into Annotations and images into JPEGImages")
    return to_box_dataset(str(root), (image for held in places for image in images_of(held, root)))
