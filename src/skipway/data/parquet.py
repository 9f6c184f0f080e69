"""Parquet files in the hub's image layout: a column of {bytes, path} and a column of labels, or of lists of labels,
which is found by its name (`columns.LABELS`) or chosen by the reading's label_column.

One file is a training set; in a folder, the files' names say which split they hold (train*.parquet, test*.parquet,
val*.parquet or validation*.parquet, shards in name order), or else the folders that they lie in.

A set of up to WHOLE bytes is read into memory. Of a larger one, images are read when asked for, a row group at a time,
for that is the least that parquet gives: groups of some hundred images, as the hub writes them, are what suits it.
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

from skipway.data.columns import columns, declared_names, label_values
from skipway.data.labels import Classes, Named, to_source
from skipway.data.reading import DEFAULT_READING, Reading, require_only
from skipway.data.source import Source
from skipway.data.stored import Stored, by_split
from skipway.errors import DataError, first_line

WHOLE = 2 << 30  # bytes of row groups, uncompressed, that are kept in memory
KEPT = 8  # row groups that each process keeps of a larger set


class RowGroup(NamedTuple):
    """One row group's images. `first`: its first row there; `changed`: the file's time, by which a new one shows."""

    file: Path
    number: int
    first: int
    column: str
    changed: int


class Footer(NamedTuple):
    """What is known of a file before its images are read; `size` is of its row groups, uncompressed, in bytes."""

    groups: list[RowGroup]
    rows: int
    size: int
    kind: pa.DataType
    classes: tuple[str, ...]
    values: list[Classes]
    names: list[str]


@contextmanager
def damage_in(file: Path) -> Iterator[None]:
    """Turns Arrow's faults within into a DataError that names the file."""
    try:
        yield
    except (pa.ArrowException, OSError) as fault:
        raise DataError(
            f"{file} is not a parquet file that can be read ({first_line(fault)}): fetch it again"
        ) from None


def read_footer(file: Path, label_column: str) -> Footer:
    """Labels, names and row groups of a file. `label_column` holds the labels; "": the one of the usual name.

    Raises DataError for a file that is damaged or laid out ill.
    """
    with damage_in(file):
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
    """The contents of a row group's images. Raises DataError for a damaged file."""
    with damage_in(group.file):
        table = pq.ParquetFile(group.file).read_row_group(group.number, columns=[f"{group.column}.bytes"])
        return pc.struct_field(table.column(0), "bytes")


lately_read = lru_cache(maxsize=KEPT)(read_group)


def read_whole(group: RowGroup) -> pa.ChunkedArray:
    """`read_group`. Raises DataError for an image without bytes, too."""
    images = read_group(group)
    absent = pc.index(pc.fill_null(pc.binary_length(images), 0), 0).as_py()
    if absent >= 0:
        raise no_bytes(group, absent)
    return images


@dataclass(frozen=True)
class GroupReader:
    """Reads an image of many row groups; `starts` are the places of their first images, `held` those in memory."""

    groups: tuple[RowGroup, ...]
    starts: np.ndarray
    held: tuple[pa.ChunkedArray, ...]

    def __call__(self, place: int) -> bytes:
        number = int(np.searchsorted(self.starts, place, side="right")) - 1
        images = self.held[number] if self.held else lately_read(self.groups[number])
        within = place - int(self.starts[number])
        content = images[within].as_py()
        if not content:
            raise no_bytes(self.groups[number], within)
        return content


def read_part(footers: Sequence[Footer], whole: bool) -> Named:
    """The rows of a split's files, one after the other; the images in memory if `whole`. Raises DataError."""
    groups = tuple(group for footer in footers for group in footer.groups)
    before = np.cumsum([0, *(footer.rows for footer in footers)])
    starts = [start + group.first for start, footer in zip(before, footers, strict=False) for group in footer.groups]
    reader = GroupReader(groups, np.array(starts), tuple(map(read_whole, groups)) if whole else ())
    return Named(
        Stored(reader, np.arange(before[-1])),
        [value for footer in footers for value in footer.values],
        [name for footer in footers for name in footer.names],
    )


def open_parquet(path: Path, reading: Reading = DEFAULT_READING) -> Source:
    """The data set in a parquet file or a folder of them. Raises DataError for one that is damaged or laid out ill."""
    require_only(reading, str(path), "label_column")
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    footers = {
        key: [read_footer(file, reading.label_column) for file in group] for key, group in by_split(files, path).items()
    }
    for group in footers.values():
        if len({(footer.kind, footer.groups[0].column if footer.groups else "") for footer in group}) > 1:
            raise DataError(f"{path} holds parquet files of different columns: keep those of one data set")
    whole = sum(footer.size for group in footers.values() for footer in group) <= WHOLE
    parts = {key: read_part(group, whole) for key, group in footers.items()}
    return to_source(str(path), parts, footers["train"][0].classes)
