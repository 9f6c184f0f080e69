"""Opens a data set by name or path: which formats there are, and which of them a path is."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from skipway.data.dataset import Dataset
from skipway.data.formats.cifar import open_cifar
from skipway.data.formats.cityscapes import open_cityscapes
from skipway.data.formats.coco import open_coco
from skipway.data.formats.coco_semantic import open_coco_semantic
from skipway.data.formats.detection_layouts import find_detection_format
from skipway.data.formats.digits import open_digits
from skipway.data.formats.folder import class_folders, images_below, open_folder
from skipway.data.formats.hub import open_hub, open_saved
from skipway.data.formats.instance_masks import open_instance_masks
from skipway.data.formats.mask_folders import open_semantic
from skipway.data.formats.mask_layouts import find_mask_format
from skipway.data.formats.mask_parquet import open_any_parquet
from skipway.data.formats.mask_table import open_any_table
from skipway.data.formats.pattern_folder import open_pattern_folder
from skipway.data.formats.unlabelled import is_unlabelled, open_unlabelled
from skipway.data.formats.voc import open_voc
from skipway.data.formats.voc_semantic import open_voc_semantic
from skipway.data.formats.webdataset import open_shards
from skipway.data.formats.yolo import open_yolo
from skipway.data.formats.zip_folder import open_zip
from skipway.data.image_targets import with_task
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions, require_only
from skipway.errors import DataError, UnknownNameError

SOURCES: dict[str, Callable[[], Dataset]] = {
    "digits": open_digits,
    "cifar10": lambda: open_cifar("cifar10"),
    "cifar100": lambda: open_cifar("cifar100"),
}
FILES: dict[str, Callable[[Path, ReadOptions], Dataset]] = {
    ".csv": open_any_table,
    ".tsv": open_any_table,
    ".parquet": open_any_parquet,
    ".zip": open_zip,
    ".tar": lambda path, reading: open_shards(str(path), reading),
}
BOX_FORMATS: dict[str, Callable[[Path], Dataset]] = {
    "voc": open_voc,
    "coco": open_coco,
    "yolo": open_yolo,
    "masks": open_instance_masks,
}
MASK_FORMATS: dict[str, Callable[[Path, ReadOptions], Dataset]] = {
    "semantic": open_semantic,
    "voc-semantic": open_voc_semantic,
    "coco-semantic": open_coco_semantic,
    "cityscapes": open_cityscapes,
}
BOX_FILES = {".json": "coco", ".yaml": "yolo", ".yml": "yolo"}  # suffixes of files that describe a whole data set
SAVED = ("dataset_dict.json", "state.json")  # written by `save_to_disk` of the library datasets
KINDS = (
    f"a folder of class folders, a CSV or TSV table, parquet, tar shards, a zip archive of class folders, boxes as "
    f"Pascal VOC, COCO or YOLO, images with masks, hf:owner/name on the hub, or {', '.join(SOURCES)}"
)


def open_annotated(path: Path, format_name: str, reading: ReadOptions) -> Dataset:
    """The data set with boxes or masks in a folder or file. Raises UnknownNameError for an unknown format."""
    if format_name in MASK_FORMATS:
        require_only(reading, str(path), "format", "ignore", "class_names")
        return MASK_FORMATS[format_name](path, reading)
    require_only(reading, str(path), "format")
    formats = [*BOX_FORMATS, *MASK_FORMATS]
    if format_name not in BOX_FORMATS:
        raise UnknownNameError("format", format_name, formats, f"--format is one of {', '.join(formats)}")
    return BOX_FORMATS[format_name](path)


def open_directory(folder: Path, reading: ReadOptions) -> Dataset:
    """The data set in a folder: annotated with boxes or masks, saved by `datasets`, or parquet at any depth, or tar
    shards without images next to them, or images, labelled by folder or by a `label_pattern`."""
    if reading.format:
        return open_annotated(folder, reading.format, reading)
    if reading.label_pattern:
        require_only(reading, str(folder), "label_pattern")
        return open_pattern_folder(folder, reading.label_pattern)
    if any((folder / name).is_file() for name in SAVED):
        return open_saved(folder, reading)
    endings = {file.rpartition(".")[2] for _, _, files in os.walk(folder) for file in files}
    if "parquet" in endings:
        return open_any_parquet(folder, reading)
    if "tar" in endings and not any(images_below(inside) for inside in class_folders(folder)):
        return open_shards(str(folder), reading)
    found = find_detection_format(folder)
    if found:
        return open_annotated(folder, found, reading)
    masks = find_mask_format(folder)
    if masks:
        dataset = open_annotated(folder, masks[0], reading)
        return replace(dataset, remarks=(*masks[1], *dataset.remarks))
    require_only(reading, str(folder))
    return open_folder(folder)


def open_box_file(path: Path, reading: ReadOptions) -> Dataset:
    """The data set that a JSON or YAML file describes. Raises DataError for a `format` of other files."""
    by_suffix = BOX_FILES[path.suffix.lower()]
    allowed = ("", by_suffix, "coco-semantic") if by_suffix == "coco" else ("", by_suffix)
    if reading.format not in allowed:
        raise DataError(f"{path} is a file of --format {by_suffix}, not of {reading.format}: leave the option out")
    return open_annotated(path, reading.format or by_suffix, reading)


def open_dataset(where: str, reading: ReadOptions = DEFAULT_READ_OPTIONS) -> Dataset:
    """Open the data set `where`: a folder, a table, parquet, tar shards, a repository on the hub, or one of SOURCES;
    with boxes or objects' outlines, also a COCO file or a YOLO YAML file.

    A path may be a pattern of tar shards ("train-{000..012}.tar"); write ./digits for a folder of that name.
    `reading` holds options that the files do not determine. The data set's name is `where`; with its `reading` it can
    be opened again. Raises SkipwayError, in one line, for anything else, and for an option that does not apply.
    """
    own = replace(reading, task="")
    if reading.task and own == DEFAULT_READ_OPTIONS and Path(where).is_dir() and is_unlabelled(Path(where)):
        return replace(open_unlabelled(Path(where)), reading=reading)
    return replace(with_task(open_without_options(where, own), reading.task), reading=reading)


def open_without_options(where: str, reading: ReadOptions) -> Dataset:
    """`open_dataset`, except that the data set does not store its `reading` yet."""
    if where in SOURCES:
        require_only(reading, where)
        return SOURCES[where]()
    if where.startswith("hf:"):
        return open_hub(where, reading)
    path = Path(where)
    try:
        is_file, is_folder = path.is_file(), path.is_dir()
        exists = path.exists()
    except OSError as error:
        raise DataError(f"{where[:200]} cannot be opened ({error.strerror}): give {KINDS}") from None
    if is_folder:
        return open_directory(path, reading)
    if is_file and path.suffix.lower() in BOX_FILES:
        return open_box_file(path, reading)
    if is_file and path.suffix.lower() in FILES:
        return FILES[path.suffix.lower()](path, reading)
    if exists:
        what = "not a supported file type" if is_file else "a pipe or device"
        raise DataError(f"{where} is {what}: give {KINDS}")
    if any(c in where for c in "{*?[") and where.endswith(".tar"):
        return open_shards(where, reading)
    if "/" in where or "." in where:
        raise DataError(f"{where} does not exist: give {KINDS}")
    raise UnknownNameError("data set", where, SOURCES, f"give {KINDS}")
