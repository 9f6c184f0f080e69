"""Data sets in YOLO's layout: a text file for each image, with a line for each object.

A line is a class number and a box (centre x and y, width, height) or a polygon (x1 y1 x2 y2 ...), in fractions of the
upright image. Class numbers index the names in data.yaml or the lines of classes.txt. An image without a text file, or
with an empty one, has no objects.
"""

import math
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from skipway.data.dataset import Dataset
from skipway.data.decode import SUFFIXES
from skipway.data.formats.annotated_images import (
    AnnotatedBox,
    AnnotatedImage,
    Annotation,
    AnnotationError,
    shown,
    to_box_dataset,
)
from skipway.data.formats.coco_masks import area_of, from_polygons
from skipway.data.formats.detection_layouts import candidate_folders, yolo_yamls
from skipway.data.formats.folder import SPLITS, images_below, split_folders
from skipway.data.formats.image_size import ImageSize
from skipway.errors import DataError, first_line

MAX_BYTES = 1 << 24  # of a text or YAML file
CLASSES = "classes.txt"


def read_text(file: Path) -> str:
    """The text of a small file. Raises ValueError with the reason."""
    try:
        if not file.is_file():
            raise ValueError("it is not a file")
        if file.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"it cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None


def read_line(line: str, where: str, names: Mapping[int, str], size: ImageSize) -> AnnotatedBox:
    """A line as a box on an image of `size`. Raises AnnotationError."""
    number, *texts = line.split()
    try:
        if not number.isascii() or not number.isdigit() or int(number[:9]) not in names or len(number) > 9:
            raise AnnotationError("unknown box class", where, f"there is no class {shown(number)} among the names")
        values = [float(text) for text in texts]
        if not all(map(math.isfinite, values)):
            raise ValueError("a value is not a finite number")
        if len(values) != 4 and (len(values) < 6 or len(values) % 2):
            raise ValueError(f"{len(values)} values after the class are neither a box (4) nor a polygon (6, 8, ...)")
        name, (width, height) = names[int(number)], size[:2]
        if len(values) == 4:
            x, y, w, h = (value * side for value, side in zip(values, (width, height) * 2, strict=True))
            if w < 0 or h < 0:
                raise AnnotationError("inverted box", where, f"its width is {values[2]:g} and its height {values[3]:g}")
            return AnnotatedBox(where, name, (x - w / 2, y - h / 2, x + w / 2, y + h / 2))
        points = [value * (height if i % 2 else width) for i, value in enumerate(values)]
        mask = from_polygons([points], width, height)
    except ValueError as error:
        raise AnnotationError("invalid annotation", where, str(error)) from None
    box = (min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2]))
    return AnnotatedBox(where, name, box, area=area_of(mask), mask=mask)


def read_labels(file: Path | None, where: str, names: Mapping[int, str], size: ImageSize) -> Annotation:
    """The annotation in a text file; without objects if there is none. Raises AnnotationError."""
    if file is None:
        return Annotation(where, None, ())
    try:
        lines = read_text(file).splitlines()
    except ValueError as error:
        raise AnnotationError("invalid annotation", where, str(error)) from None
    filled = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    return Annotation(where, None, [read_line(line, f"{where} line {n}", names, size) for n, line in filled])


def label_file(image: Path) -> Path | None:
    """The text file of an image: in `labels` where the image is in `images`, or next to it; None if there is none."""
    parts = list(image.parts)
    places = [i for i, part in enumerate(parts[:-1]) if part.lower() == "images"]
    if places:
        parts[places[-1]] = "labels"
    candidates = dict.fromkeys([Path(*parts).with_suffix(".txt"), image.with_suffix(".txt")])
    return next((file for file in candidates if os.path.lexists(file)), None)


def class_names(given: Any, where: str) -> dict[int, str]:
    """Class names by number from `names`, a list or a mapping. Raises DataError."""
    pairs = dict(enumerate(given)) if isinstance(given, list) else given
    if not isinstance(pairs, dict) or not pairs:
        raise DataError(f"{where} has no names of classes: write a list, or a mapping from number to name")
    names: dict[int, str] = {}
    for number, name in pairs.items():
        text = str(name).strip() if isinstance(name, str) or type(name) in (int, float) else ""
        if type(number) is not int or number < 0 or not text or not text.isprintable():
            raise DataError(f"{where} has the name {shown(name)} for class {shown(number)}: write numbers and names")
        names[number] = text
    if len(set(names.values())) < len(names):
        twice = next(name for name in names.values() if list(names.values()).count(name) > 1)
        raise DataError(f"{where} has the class name {shown(twice)} twice: rename one")
    return names


def load_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises DataError. Aliases are refused: a small file could expand to gigabytes."""
    try:
        text = read_text(file)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise ValueError("it has aliases (*name), which are not supported")
        content = yaml.safe_load(text)
    except (ValueError, yaml.YAMLError, RecursionError, LookupError, TypeError) as error:
        raise DataError(f"{file} is not valid YAML ({yaml_reason(error)}): correct it") from None
    if not isinstance(content, dict):
        raise DataError(f"{file} is not a mapping with names, train and val: correct it")
    return content


def yaml_reason(error: Exception) -> str:
    """Why YAML cannot be read, with its line, in one line."""
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or first_line(error)
    return f"line {mark.line + 1}: {reason}" if mark else str(reason)


def names_of_folder(places: list[Path]) -> dict[int, str]:
    """The class names in the first classes.txt in `places`, or in their labels. Raises DataError if there is none."""
    for file in [place / folder / CLASSES for place in places for folder in (".", "labels")]:
        if file.is_file():
            try:
                return class_names([line.strip() for line in read_text(file).rstrip().splitlines()], str(file))
            except ValueError as error:
                raise DataError(f"{file}: {error}: write one class a line, starting with class 0") from None
    raise DataError(
        f"{places[0]} has YOLO labels without class names: write them, one a line starting with class 0, into {CLASSES}"
    )


def image_folders(root: Path) -> dict[str, list[Path]]:
    """The folders of images by split: images/train, train/images, train, or everything in images or in `root`."""
    images = next((root / name for name in ("images", "Images") if (root / name).is_dir()), None)
    for place in [images, root]:
        splits = split_folders(place) if place else {}
        if "train" in splits:
            return {split: [folder] for split, folder in splits.items()}
    return {"train": [images or root]}


def entries_of(value: Any, key: str, file: Path, base: Path) -> list[Path]:
    """The folders or lists of images under a split's key. Raises DataError for one that does not exist.

    Some tools write ../train/images for a folder that is beside the file.
    """
    entries = value if isinstance(value, list) else [value]
    found = []
    for entry in entries:
        if not isinstance(entry, str) or "\0" in entry:
            raise DataError(f"{file}: {key} is {shown(entry)}, not a folder or a list of them: correct it")
        below = entry.replace("\\", "/")
        candidates = [base / below, file.parent / below, file.parent / below.removeprefix("../")]
        path = next((one for one in candidates if one.exists()), None)
        if path is None:
            raise DataError(f"{file}: {key} is {shown(entry)}, which does not exist: correct it")
        found.append(path)
    return found


def folders_of_yaml(content: dict[str, Any], file: Path) -> dict[str, list[Path]]:
    """The folders or lists of images by split that a YAML file names; empty if it names none for train."""
    where = content.get("path") or "."
    base = file.parent / where if isinstance(where, str) and "\0" not in where else file.parent
    given = {split: next((content[key] for key in keys if content.get(key)), None) for split, keys in SPLITS.items()}
    if given["train"] is None:
        return {}
    return {split: entries_of(value, split, file, base) for split, value in given.items() if value is not None}


def listed_images(entry: Path) -> Iterator[tuple[Path, str]]:
    """The images of a folder, or those that a text file lists, one path a line, each with where it is listed."""
    if entry.is_dir():
        yield from ((image, str(entry.name)) for image in images_below(entry))
        return
    try:
        lines = read_text(entry).splitlines()
    except ValueError as error:
        raise DataError(f"{entry}: {error}: give a folder, or a list of images") from None
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield entry.parent / line.strip().replace("\0", ""), f"{entry.name} line {number}"


def name_of(path: Path, root: Path) -> str:
    """The path relative to `root`, if it is below."""
    normal = Path(os.path.normpath(path))
    return normal.relative_to(root).as_posix() if normal.is_relative_to(root) else normal.as_posix()


def images_of(folders: Mapping[str, list[Path]], root: Path, names: Mapping[int, str]) -> Iterator[AnnotatedImage]:
    """The images of all splits, and text files in folders of labels that belong to no image."""
    for split, entries in folders.items():
        for entry in entries:
            used: set[Path] = set()
            for image, where in listed_images(entry):
                labels = label_file(image)
                used |= {labels} if labels else set()
                there = image.is_file() and image.suffix.lower() in SUFFIXES
                read = partial(read_labels, labels, name_of(labels or image, root), names)
                yield AnnotatedImage(split, name_of(image, root), image if there else None, where, read)
            for text in sorted(texts_beside(entry) - used):
                read = partial(read_labels, text, text.name, names)
                yield AnnotatedImage(split, name_of(text, root), None, name_of(text, root), read)


def texts_beside(entry: Path) -> set[Path]:
    """The text files in the folder of labels that corresponds to a folder of images."""
    parts = list(entry.parts)
    places = [i for i, part in enumerate(parts) if part.lower() == "images"]
    if not entry.is_dir() or not places:
        return set()
    parts[places[-1]] = "labels"
    return {file for file in Path(*parts).rglob("*.txt") if file.name != CLASSES}


def open_yolo(path: Path) -> Dataset:
    """The data set that a YAML file describes, or that is in a folder, with a YAML file or classes.txt. Raises
    DataError."""
    root = path if path.is_dir() else path.parent
    if path.is_dir() and not yolo_yamls(root) and not split_folders(root) and not (root / "images").is_dir():
        described = [place for place in candidate_folders(root) if yolo_yamls(place) or (place / "images").is_dir()]
        root = described[0] if described else root
    described = yolo_yamls(root) if path.is_dir() else [path]
    if described:
        content = load_yaml(described[0])
        names = class_names(content.get("names"), str(described[0]))
        folders = folders_of_yaml(content, described[0]) or image_folders(root)
    else:
        folders = image_folders(root)
        names = names_of_folder([root, *(folder for held in folders.values() for folder in held)])
    base = Path(os.path.normpath(path if path.is_dir() else root))
    return to_box_dataset(str(path), images_of(folders, base, names), names.values())
