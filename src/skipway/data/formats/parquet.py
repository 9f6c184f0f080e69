"""Data sets in parquet files of the hub's image layout: a column of {bytes, path} and a column of labels.

Labels may be lists; their column is found by its name (`arrow_columns.LABELS`) or given by the option label_column.

One file is a training set; in a folder, the file names give the splits (train*.parquet, test*.parquet, val*.parquet or
validation*.parquet, shards in name order), or else the names of the folders that contain them.

A data set of up to IN_MEMORY_LIMIT bytes is read into memory. Images of a larger one are read when accessed, one row
group at a time, the smallest unit of parquet: groups of about a hundred images, as the hub writes them, work best.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from skipway.data.dataset import Dataset
from skipway.data.formats.arrow_columns import columns, declared_names, label_values
from skipway.data.label_encoding import Classes, NamedLabels, to_dataset
from skipway.data.lazy_images import LazyImages, by_split
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions, require_only
from skipway.errors import DataError, first_line

IN_MEMORY_LIMIT = 2 << 30  # bytes of row groups, uncompressed, that are read into memory
CACHED_GROUPS = 8  # row groups of a larger data set that each process caches


class RowGroup(NamedTuple):
    """One row group's images. `first`: index of its first row in the file; `changed`: the file's modification time."""

    file: Path
    number: int
    first: int
    column: str
    changed: int


class Footer(NamedTuple):
    """What is read of a file before its images; `size`: of its row groups, uncompressed, in bytes."""

    groups: list[RowGroup]
    rows: int
    size: int
    kind: pa.DataType
    classes: tuple[str, ...]
    values: list[Classes]
    names: list[str]


@contextmanager
def translate_errors(file: Path) -> Iterator[None]:
    """Turn exceptions from Arrow, and from names and labels in it that are no UTF-8, into a DataError that names the
    file."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} is not a readable parquet file ({first_line(error)}): download it again") from None


def read_footer(file: Path, label_column: str) -> Footer:
    """Labels, names and row groups of a file. `label_column` holds the labels; "": the column with the usual name.

    Raises DataError for a file that is damaged or has another layout.
    """
    with translate_errors(file):
        opened = pq.ParquetFile(file)
        schema, parts = opened.schema_arrow, opened.metadata
        image, label = columns(schema, str(file), label_column)
        has_paths = schema.field(image).type.get_field_index("path") >= 0
        table = opened.read(columns=[label, f"{image}.path"] if has_paths else [label])
        sizes = [parts.row_group(i).total_byte_size for i in range(parts.num_row_groups)]
        firsts = np.cumsum([0, *(parts.row_group(i).num_rows for i in range(parts.num_row_groups))]).tolist()
        changed = file.stat().st_mtime_ns
        paths = pc.struct_field(table[image], "path").to_pylist() if has_paths else [None] * table.num_rows
        classes = declared_names(schema, label)
        return Footer(
            groups=[RowGroup(file, i, first, image, changed) for i, first in enumerate(firsts[:-1])],
            rows=table.num_rows,
            size=sum(sizes),
            kind=schema.field(label).type,
            classes=classes,
            values=label_values(table[label], classes, file.name),
            names=[f"{file.name}[{i}]{' ' + path if path else ''}" for i, path in enumerate(paths)],
        )


def no_bytes(group: RowGroup, place: int) -> DataError:
    return DataError(f"{group.file.name} row {group.first + place} has no image bytes: embed the images in the file")


def read_group(group: RowGroup) -> pa.ChunkedArray:
    """The encoded images of a row group. Raises DataError for a damaged file."""
    with translate_errors(group.file):
        table = pq.ParquetFile(group.file).read_row_group(group.number, columns=[f"{group.column}.bytes"])
        return pc.struct_field(table.column(0), "bytes")


read_group_cached = lru_cache(maxsize=CACHED_GROUPS)(read_group)


def read_complete_group(group: RowGroup) -> pa.ChunkedArray:
    """`read_group`, which also raises DataError for an image without bytes."""
    images = read_group(group)
    absent = pc.index(pc.fill_null(pc.binary_length(images), 0), 0).as_py()
    if absent >= 0:
        raise no_bytes(group, absent)
    return images


@dataclass(frozen=True)
class GroupReader:
    """Reads an image from row groups; `starts`: indices of their first images; `in_memory`: groups already read."""

    groups: tuple[RowGroup, ...]
    starts: np.ndarray
    in_memory: tuple[pa.ChunkedArray, ...]

    def __call__(self, place: int) -> bytes:
        number = int(np.searchsorted(self.starts, place, side="right")) - 1
        images = self.in_memory[number] if self.in_memory else read_group_cached(self.groups[number])
        within = place - int(self.starts[number])
        content = images[within].as_py()
        if not content:
            raise no_bytes(self.groups[number], within)
        return content


def read_part(footers: Sequence[Footer], in_memory: bool) -> NamedLabels:
    """The concatenated rows of a split's files; images are read into memory if `in_memory`. Raises DataError."""
    groups = tuple(group for footer in footers for group in footer.groups)
    before = np.cumsum([0, *(footer.rows for footer in footers)])
    starts = [start + group.first for start, footer in zip(before, footers, strict=False) for group in footer.groups]
    reader = GroupReader(groups, np.array(starts), tuple(map(read_complete_group, groups)) if in_memory else ())
    return NamedLabels(
        LazyImages(reader, np.arange(before[-1])),
        [value for footer in footers for value in footer.values],
        [name for footer in footers for name in footer.names],
    )


def open_parquet(path: Path, reading: ReadOptions = DEFAULT_READ_OPTIONS) -> Dataset:
    """Open a parquet file or a folder of them. Raises DataError if one is damaged or has another layout."""
    require_only(reading, str(path), "label_column")
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    footers = {
        key: [read_footer(file, reading.label_column) for file in group] for key, group in by_split(files, path).items()
    }
    for group in footers.values():
        if len({(footer.kind, footer.groups[0].column if footer.groups else "") for footer in group}) > 1:
            raise DataError(f"{path} has parquet files with different columns: keep those of one data set")
    in_memory = sum(footer.size for group in footers.values() for footer in group) <= IN_MEMORY_LIMIT
    parts = {key: read_part(group, in_memory) for key, group in footers.items()}
    return to_dataset(str(path), parts, footers["train"][0].classes)
