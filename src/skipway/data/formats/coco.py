"""Data sets in COCO's layout: a JSON object of images, annotations and categories (Lin 2014, arXiv:1405.0312).

Category ids may begin anywhere and have gaps: they are replaced by their names when they are read. Boxes are left, top,
width and height. An image is looked for by its `file_name` beside the JSON, in `images/`, and then anywhere below.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from skipway.data.dataset import Dataset
from skipway.data.formats.annotated_images import (
    AnnotatedBox,
    AnnotatedImage,
    Annotation,
    AnnotationError,
    shown,
    to_box_dataset,
)
from skipway.data.formats.coco_masks import area_of, to_mask, to_numbers
from skipway.data.formats.detection_layouts import candidate_folders, coco_files, json_files
from skipway.data.formats.folder import SPLITS, images_below
from skipway.data.formats.image_size import ImageSize
from skipway.errors import DataError

LISTS = ("images", "annotations", "categories")
SPLIT_OF = {word: split for split, words in SPLITS.items() for word in words}


@dataclass(frozen=True)
class ImageFiles:
    """The images below the folder `root`, by their path and by their name alone; names in messages are relative to it.
    Only these can be opened, whatever path an annotation file gives."""

    root: Path
    paths: frozenset[str]
    by_name: Mapping[str, Sequence[str]]

    def find(self, file_name: str, folders: Sequence[str]) -> Path | None:
        """The image `file_name` in the first of `folders` that has it, otherwise the only one of its name."""
        name = file_name.replace("\\", "/")
        for folder in folders:
            path = os.path.normpath(f"{folder}/{name}")
            if path in self.paths:
                return self.root / path
        same = self.by_name.get(PurePosixPath(name).name, ())
        return self.root / same[0] if len(same) == 1 else None


def image_files(root: Path) -> ImageFiles:
    paths = [path.relative_to(root).as_posix() for path in images_below(root)]
    by_name: dict[str, list[str]] = {}
    for path in paths:
        by_name.setdefault(PurePosixPath(path).name, []).append(path)
    return ImageFiles(root, frozenset(paths), by_name)


def load_lists(file: Path) -> dict[str, list[Any]]:
    """The lists of images, annotations and categories. Raises DataError if the file is not such a JSON object."""
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}): correct it") from None
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8: save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        reason = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else "too deep or long"
        raise DataError(f"{file} is not valid JSON ({reason}): correct it or export it again") from None
    for name in LISTS:
        if not isinstance(content, dict) or not isinstance(content.get(name), list):
            raise DataError(f"{file} has no list of {name}: a COCO file has {', '.join(LISTS)}")
        if name != "annotations" and not content[name]:
            raise DataError(f"{file} has an empty list of {name}: export it again")
    return {name: content[name] for name in LISTS}


def is_id(value: Any) -> bool:
    return type(value) is int or (isinstance(value, str) and bool(value))


def category_names(categories: list[Any], file: Path) -> dict[Any, str]:
    """The categories' names by id. Raises DataError for a category without id or name, and for an id with two names."""
    names: dict[Any, str] = {}
    for place, category in enumerate(categories):
        identity, name = (category.get("id"), category.get("name")) if isinstance(category, dict) else (None, None)
        if not is_id(identity) or not isinstance(name, str) or not name.strip() or not name.isprintable():
            raise DataError(f"{file} categories[{place}] has no id or no name: correct it")
        if names.setdefault(identity, name.strip()) != name.strip():
            raise DataError(f"{file} gives the category id {identity} to {names[identity]} and {name}: correct one")
    return names


def read_box(one: dict[str, Any], where: str, names: Mapping[Any, str], recorded: tuple[int, int]) -> AnnotatedBox:
    """An annotation as a box; its polygons are rasterised on an image of width and height `recorded`. Raises
    AnnotationError."""
    identity, values = one.get("category_id"), one.get("bbox")
    if not is_id(identity) or identity not in names:
        raise AnnotationError("unknown box class", where, f"category_id {shown(identity)} is not in categories")
    try:
        if not isinstance(values, list) or len(values) != 4:
            raise ValueError("bbox is not a list of left, top, width, height")
        left, top, width, height = to_numbers(values, "the values of bbox").tolist()
        if width < 0 or height < 0:
            raise AnnotationError("inverted box", where, f"bbox has a width of {width:g} and a height of {height:g}")
        if one.get("iscrowd", 0) not in (0, 1):
            raise ValueError(f"iscrowd is {shown(one['iscrowd'])}, not 0 or 1")
        mask = to_mask(one.get("segmentation"), *recorded)
        area = None if one.get("area") is None else to_numbers([one["area"]], "the values of area").item()
        if area is not None and area < 0:
            raise ValueError(f"area is {area:g}")
    except ValueError as error:
        raise AnnotationError("invalid annotation", where, str(error)) from None
    if area is None and mask is not None:
        area = area_of(mask)
    crowd = bool(one.get("iscrowd", 0))
    return AnnotatedBox(where, names[identity], (left, top, left + width, top + height), crowd, area, mask)


def recorded_size(image: dict[str, Any], where: str) -> tuple[int, int] | None:
    """Width and height in an image's entry; None if it has neither. Raises AnnotationError."""
    values = [image.get(name) for name in ("width", "height")]
    if values == [None, None]:
        return None
    if not all(type(value) is int and value > 0 for value in values):
        what = f"width {shown(values[0])} and height {shown(values[1])} are not positive integers"
        raise AnnotationError("size mismatch", where, what)
    return values[0], values[1]  # type: ignore[return-value]


def read_image_entry(
    image: dict[str, Any], where: str, objects: list[tuple[str, Any]], names: Mapping[Any, str], size: ImageSize
) -> Annotation:
    """The annotation of an image: its entry, and `objects`, each with where it is. Raises AnnotationError."""
    recorded = recorded_size(image, where)
    if recorded not in (None, size.stored, (size.width, size.height)):
        return Annotation(where, recorded, ())  # refused for its size, on which no mask could be drawn
    drawn_on = recorded or (size.width, size.height)
    return Annotation(where, recorded, [read_box(one, place, names, drawn_on) for place, one in objects])


@dataclass(frozen=True)
class CocoFile:
    """The contents of a COCO file: the names of its categories, its images, and (split, image, reason) of annotations
    that belong to no image."""

    names: dict[Any, str]
    images: list[AnnotatedImage]
    faults: list[tuple[str, str, str]]


def folders_for(file: Path, root: Path, split: str) -> list[str]:
    """Where the images of a COCO file may be, relative to `root`: beside it, in images, and in folders named like its
    split, such as train2017 for instances_train2017.json."""
    beside = file.parent.relative_to(root).as_posix()
    named = [file.stem.rpartition("_")[2], *SPLITS[split]]
    return [beside, f"{beside}/images", ".", "images", "JPEGImages", *named, *(f"images/{name}" for name in named)]


def by_image(annotations: list[Any], label: str) -> tuple[dict[Any, list[tuple[str, Any]]], list[tuple[str, str]]]:
    """The annotations by image id, each with where it is; and (where, what) of those that have none."""
    objects: dict[Any, list[tuple[str, Any]]] = {}
    faults: list[tuple[str, str]] = []
    for place, one in enumerate(annotations):
        if isinstance(one, dict) and is_id(one.get("image_id")):
            where = f"{label} annotation {one['id']}" if is_id(one.get("id")) else f"{label} annotations[{place}]"
            objects.setdefault(one["image_id"], []).append((where, one))
        else:
            faults.append((f"{label} annotations[{place}]", "it has no image_id"))
    return objects, faults


def read_file(file: Path, files: ImageFiles, split: str) -> CocoFile:
    """The contents of a COCO file with images among `files`. Raises DataError for what concerns the whole file."""
    lists, label = load_lists(file), file.relative_to(files.root).as_posix()
    names = category_names(lists["categories"], file)
    objects, faults = by_image(lists["annotations"], label)
    folders = folders_for(file, files.root, split)
    images: list[AnnotatedImage] = []
    known: dict[Any, str] = {}
    for place, image in enumerate(lists["images"]):
        identity, file_name = (image.get("id"), image.get("file_name")) if isinstance(image, dict) else (None, None)
        if not is_id(identity) or not isinstance(file_name, str) or not file_name:
            faults.append((f"{label} images[{place}]", "it has no id or no file_name"))
            continue
        where = f"{label} image {identity}"
        path = files.find(file_name, folders)
        name = path.relative_to(files.root).as_posix() if path else file_name
        read = partial(read_image_entry, image, where, objects.get(identity, []), names)
        images.append(AnnotatedImage(split, name, path, where, read))
        if known.setdefault(identity, name) != name:  # whose its objects are cannot be known
            twice = f"{where}, which is the id of two images"
            images += [AnnotatedImage(split, one, path, twice, read) for one in (name, known[identity])]
    for identity in objects.keys() - known.keys():
        faults += [(where, f"there is no image {shown(identity)}") for where, _ in objects[identity]]
    bad = [(split, where, str(AnnotationError("invalid annotation", where, what))) for where, what in faults]
    return CocoFile(names, images, bad)


def split_of_file(file: Path, root: Path) -> str | None:
    """The split in a JSON file's name, such as instances_train2017.json, or else in the name of its folder."""
    folder = file.parent.name if file.parent != root else ""
    words = [re.split(r"[^a-z]+", name.lower()) for name in (file.stem, folder)]
    return next((SPLIT_OF[word] for held in words for word in held if word in SPLIT_OF), None)


def split_files(root: Path) -> list[tuple[Path, str]]:
    """The COCO files of a folder and their splits; a single one is for training, whatever its name. Of the official
    annotations, those of instances. Raises DataError if a name does not give the split."""
    below = candidate_folders(root)
    found = coco_files(root) or [file for place in below for file in coco_files(place)] or json_files(root)
    instances = [file for file in found if file.name.startswith("instances")]
    chosen = sorted(instances if len(found) > 1 and instances else found)
    if not chosen:
        raise DataError(f"{root} has no COCO annotations: put a JSON file of images and annotations there")
    if len(chosen) == 1:
        return [(chosen[0], "train")]
    pairs = []
    for file in chosen:
        split = split_of_file(file, root)
        if split is None:
            raise DataError(f"{file} does not name its split: put train, val or test into its name")
        pairs.append((file, split))
    if "train" not in {split for _, split in pairs}:
        others = ", ".join(sorted({split for _, split in pairs}))
        raise DataError(f"{root} has annotations for {others} but not for train: add some")
    return pairs


def read_files(files: list[tuple[Path, str]], root: Path) -> Iterator[CocoFile]:
    images = image_files(root)
    for file, split in files:
        yield read_file(file, images, split)


def open_files(path: Path) -> list[CocoFile]:
    """The contents of a folder, or of a single COCO file with its images beside it, in images/, or, for a file in
    annotations/, beside that folder; of training first. Raises DataError."""
    if path.is_file():
        root = path.parent.parent if path.parent.name.lower() == "annotations" else path.parent
        return list(read_files([(path, "train")], root))
    return list(read_files(sorted(split_files(path), key=lambda pair: pair[1] != "train"), path))


def open_coco(path: Path) -> Dataset:
    """The data set in a folder or a single COCO file. Raises DataError."""
    contents = open_files(path)
    return to_box_dataset(
        str(path),
        (image for content in contents for image in content.images),
        (name for content in contents for name in content.names.values()),
        [fault for content in contents for fault in content.faults],
    )
