"""Data sets in parquet files with a column of images and a column of masks, both of {bytes, path}.

The column of masks is called mask, label, labels, annotation, segmentation or label_map. Files and folders are as those
of labelled images (`parquet`).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skipway.data.dataset import Dataset
from skipway.data.formats.class_table import find_class_table
from skipway.data.formats.masked_images import MaskedImage, given_mask, to_mask_dataset
from skipway.data.formats.parquet import (
    IN_MEMORY_LIMIT,
    GroupReader,
    RowGroup,
    open_parquet,
    read_group,
    translate_errors,
)
from skipway.data.lazy_images import LazyImages, by_split
from skipway.data.mask_source import StoredMask
from skipway.data.read_options import ReadOptions, require_only
from skipway.errors import DataError

MASKS = ("mask", "masks", "label", "labels", "annotation", "segmentation", "segmentation_mask", "label_map")


class ColumnPair(NamedTuple):
    """The names of the columns of images and of masks."""

    image: str
    mask: str


class Rows(NamedTuple):
    """The rows of a split: its images, its masks, and the name of each."""

    images: GroupReader
    masks: GroupReader
    names: list[str]


def column_pair(schema: pa.Schema) -> ColumnPair | None:
    """The columns of images and masks; None if there are not both."""
    found = [f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    masks = [name for name in found if name.lower() in MASKS]
    images = [name for name in found if name not in masks]
    return ColumnPair(images[0], masks[0]) if images and masks else None


def files_in(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.rglob("*.parquet"))


def pair_of(file: Path) -> ColumnPair | None:
    with translate_errors(file):
        return column_pair(pq.read_schema(file))


def names_in(file: Path, column: str) -> list[str]:
    """The name of each row: its number and, if it has one, the path of its image."""
    with translate_errors(file):
        opened = pq.ParquetFile(file)
        has_paths = opened.schema_arrow.field(column).type.get_field_index("path") >= 0
        paths: list[str | None] = [None] * opened.metadata.num_rows
        if has_paths:
            paths = pc.struct_field(opened.read(columns=[f"{column}.path"])[column], "path").to_pylist()
    return [f"{file.name}[{i}]{' ' + path if path else ''}" for i, path in enumerate(paths)]


def reader_for(files: Sequence[Path], column: str, in_memory: bool) -> GroupReader:
    """A reader of a column of all rows of `files`. Raises DataError for a damaged file."""
    groups: list[RowGroup] = []
    starts, before = [], 0
    for file in files:
        with translate_errors(file):
            parts = pq.ParquetFile(file).metadata
        first = 0
        for number in range(parts.num_row_groups):
            groups.append(RowGroup(file, number, first, column, file.stat().st_mtime_ns))
            starts.append(before + first)
            first += parts.row_group(number).num_rows
        before += first
    return GroupReader(tuple(groups), np.array(starts), tuple(map(read_group, groups)) if in_memory else ())


def rows_of(files: Sequence[Path], pair: ColumnPair, in_memory: bool) -> Rows:
    images, masks = (reader_for(files, column, in_memory) for column in pair)
    return Rows(images, masks, [name for file in files for name in names_in(file, pair.image)])


def open_mask_parquet(path: Path, pair: ColumnPair, reading: ReadOptions) -> Dataset:
    """The data set in a parquet file or a folder of them, with the columns `pair`. Raises DataError."""
    files = files_in(path)
    if any(pair_of(file) != pair for file in files):
        raise DataError(f"{path} has parquet files with different columns: keep those of one data set")
    in_memory = sum(file.stat().st_size for file in files) <= IN_MEMORY_LIMIT
    parts = {split: rows_of(group, pair, in_memory) for split, group in by_split(files, path).items()}
    images = (
        MaskedImage(split, name, StoredMask(rows.images, place), name, given_mask(StoredMask(rows.masks, place)))
        for split, rows in parts.items()
        for place, name in enumerate(rows.names)
    )
    stored = {split: LazyImages(rows.images, np.arange(len(rows.names))) for split, rows in parts.items()}
    table = find_class_table(reading.class_names, [path if path.is_dir() else path.parent])
    return to_mask_dataset(str(path), images, table, reading.ignore, stored=stored)


def open_any_parquet(path: Path, reading: ReadOptions) -> Dataset:
    """The data set in parquet files, of masks if they have a column of them and no label column is given. Raises
    DataError."""
    require_only(reading, str(path), "label_column", "ignore", "class_names")
    files = [] if reading.label_column else files_in(path)
    pair = pair_of(files[0]) if files else None
    return open_mask_parquet(path, pair, reading) if pair else open_parquet(path, reading)
