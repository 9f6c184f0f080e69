"""Data sets in a CSV or TSV table: one image per row, UTF-8, with a header.

Columns are found by name, in any order and case: `path` (or `image`, `file`, `filename`), relative to the table's
folder, absolute, or an address as https://... or s3://... (see `data.remote`); `label` (or `labels`, `class`,
`target`); and optionally `split`. Several labels of an image are written in one cell of a column called `labels`,
separated by ";" or "|"; or each class has a column of 0 and 1.
With the option label_column, that column holds the labels, and other columns are ignored. Fields are separated by
commas, tabs or semicolons, whichever splits the header into known names. Rows are numbered as in a spreadsheet: the
header is row 1. Spaces around labels are ignored.
"""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import NamedTuple

import numpy as np

from skipway.data.dataset import Dataset, Item
from skipway.data.formats.folder import SPLITS
from skipway.data.label_encoding import Classes, NamedLabels, to_dataset
from skipway.data.lazy_images import LazyImages
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions, column_index, require_only
from skipway.data.remote import Locations, is_remote, shown
from skipway.errors import DataError

PATH_NAMES = ("path", "image", "file", "filename")
LABEL_NAMES = ("label", "labels", "class", "target")
DELIMITERS = ",\t;"
SEPARATORS = ";|"  # of several labels in a cell
SPLIT_BY_NAME = {name: key for key, names in SPLITS.items() for name in names}
INDICATORS = {"0": False, "1": True}


class Row(NamedTuple):
    number: int
    fields: list[str]


class Image(NamedTuple):
    """The contents of a row."""

    row: int
    path: str
    value: Classes
    split: str


@dataclass(frozen=True)
class Layout:
    """Column indices. `indicators`: columns of 0 and 1 by class; `separator`: between several labels in a cell."""

    path: int
    label: int | None
    split: int | None
    indicators: dict[str, int]
    separator: str = ""


def read_text(table: Path) -> str:
    """The text of the table. Raises DataError if it cannot be read or is not UTF-8, naming the row."""
    try:
        content = table.read_bytes()
        return content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{table} cannot be read ({error.strerror}): check the file") from None
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{table} row {row} is not UTF-8: save the table as UTF-8") from None


def find_delimiter(header: str) -> str:
    """The delimiter that splits the header into names with a path column among them; a comma if none does."""

    def splits_header(delimiter: str) -> bool:
        names = next(csv.reader([header], delimiter=delimiter), [])
        return len(names) > 1 and any(name.strip().lower() in PATH_NAMES for name in names)

    return next(filter(splits_header, DELIMITERS), ",")


def read_rows(table: Path) -> list[Row]:
    """The header and all rows that are not empty. Raises DataError naming an invalid row."""
    text = read_text(table)
    delimiter = find_delimiter(text.split("\n", 1)[0].strip("\r"))
    rows: list[Row] = []
    try:
        for number, fields in enumerate(
            csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True), 1
        ):
            rows.append(Row(number, fields))
    except csv.Error as error:
        raise DataError(f"{table} row {len(rows) + 1} cannot be read ({error}): check its quotes") from None
    rows = [row for row in rows if row.fields]
    if len(rows) < 2:
        raise DataError(f"{table} has no rows: write a header such as path,label and then one row per image")
    columns = len(rows[0].fields)
    bad = next((row for row in rows if len(row.fields) != columns), None)
    if bad:
        raise DataError(f"{table} row {bad.number} has {len(bad.fields)} fields, the header {columns}: make them equal")
    return rows


def find_column(names: Sequence[str], wanted: Sequence[str], table: Path) -> int | None:
    """The index of the column with one of the names `wanted`; None if there is none. Raises DataError for several."""
    found = [i for i, name in enumerate(names) if name.lower() in wanted]
    if len(found) > 1:
        choice = f", or choose one with --label-column {quote(names[found[0]])}" if wanted is LABEL_NAMES else ""
        raise DataError(f"{table} has columns {' and '.join(names[i] for i in found)}: keep one of them{choice}")
    return found[0] if found else None


def layout_with_label_column(names: Sequence[str], table: Path, label_column: str) -> Layout:
    """The layout if `label_column` holds the labels; other columns are ignored. Raises DataError for missing or
    duplicate names, UnknownNameError if `label_column` does not exist."""
    label = column_index(label_column, names, str(table))
    rest = ["" if i == label else name for i, name in enumerate(names)]
    path, split = find_column(rest, PATH_NAMES, table), find_column(rest, ("split",), table)
    return Layout(require_path(path, names, table), label, split, {})


def require_path(path: int | None, names: Sequence[str], table: Path) -> int:
    """`path`, the index of the column of paths. Raises DataError if it is None."""
    if path is None:
        others = ", ".join(PATH_NAMES[1:])
        raise DataError(f"{table} has columns {', '.join(names)}: a column called path is required, or {others}")
    return path


def read_layout(header: Sequence[str], table: Path, label_column: str) -> Layout:
    """The layout of a header. Raises DataError for missing, unknown or duplicate names."""
    names = [name.strip() for name in header]
    if label_column:
        return layout_with_label_column(names, table, label_column)
    found, label, split = (find_column(names, wanted, table) for wanted in (PATH_NAMES, LABEL_NAMES, ("split",)))
    path = require_path(found, names, table)
    others = {name: i for i, name in enumerate(names) if i not in (path, label, split)}
    if label is not None and others:
        raise DataError(
            f"{table} has unknown columns: {', '.join(map(repr, others))}; keep only path, label and split, "
            f"or choose the label column with --label-column {quote(names[label])}"
        )
    if label is None and not others:
        raise DataError(f"{table} has no column called label, and no columns of 0 and 1 for the classes: add one")
    if "" in others or len(others) < len(names) - sum(i is not None for i in (path, label, split)):
        raise DataError(
            f"{table} has columns without a name, or two with the same name: give each class its own column"
        )
    return Layout(path, label, split, others)


def find_separator(rows: Sequence[Row], label: int, name: str, table: Path) -> str:
    """The separator of several labels in a cell; "" if no cell has several. Raises DataError if it is ambiguous."""
    used = {separator: row for row in rows for separator in SEPARATORS if separator in row.fields[label]}
    if not used:
        return ""
    separator, row = next(iter(used.items()))
    if name != "labels":
        raise DataError(
            f"{table} row {row.number} has '{separator}' in column {name}: call the column labels if cells hold several"
        )
    if len(used) > 1:
        raise DataError(f"{table} separates labels by both ; and |, as in row {row.number}: use one of them")
    return separator


def value_of(row: Row, layout: Layout, table: Path) -> Classes:
    """The row's label or labels. An empty cell means no label if cells may hold several, and is an error otherwise.

    Raises DataError for an empty label, and for an indicator other than 0 and 1.
    """
    if layout.label is None:
        for name, i in layout.indicators.items():
            if row.fields[i].strip() not in INDICATORS:
                raise DataError(
                    f"{table} row {row.number} has '{row.fields[i]}' in column {name}: without a column called label, "
                    "each other column is a class and holds 0 or 1; choose the label column with --label-column"
                )
        return tuple(name for name, i in layout.indicators.items() if INDICATORS[row.fields[i].strip()])
    cell = row.fields[layout.label]
    if layout.separator and not cell.strip():
        return ()
    values = tuple(part.strip() for part in (cell.split(layout.separator) if layout.separator else [cell]))
    if "" in values:
        raise DataError(f"{table} row {row.number} has an empty label: add a label or remove the row")
    return values if layout.separator else values[0]


def path_in(row: Row, path: str, table: Path) -> str:
    """`path`, in a cell of a row. Raises DataError if it is empty or relative to a folder above the table's."""
    if not path:
        raise DataError(f"{table} row {row.number} has no path: add a path or remove the row")
    if Path(os.path.normpath(path)).parts[:1] == (os.pardir,):
        raise DataError(f"{table} row {row.number}: {path} is outside the table's folder; write an absolute path")
    return path


def read_image(row: Row, layout: Layout, table: Path) -> Image:
    """Parse a row. Raises DataError naming it if it is invalid."""
    path = row.fields[layout.path]
    if is_remote(path):
        return Image(row.number, path, value_of(row, layout, table), split_in(row, layout, table))
    path = path_in(row, path, table)
    file = table.parent / path
    try:
        there, is_file = file.exists(), file.is_file()
    except OSError as error:  # as for a name that is too long
        raise DataError(f"{table} row {row.number}: {path[:60]}... cannot be opened ({error.strerror})") from None
    if not is_file:
        what = "is not a file" if there else "does not exist"
        raise DataError(f"{table} row {row.number}: {path} {what}; paths are relative to the table's folder")
    return Image(row.number, path, value_of(row, layout, table), split_in(row, layout, table))


def split_in(row: Row, layout: Layout, table: Path) -> str:
    """The split of a row. Raises DataError for an unknown one."""
    split = "train" if layout.split is None else row.fields[layout.split].strip().lower()
    if split not in SPLIT_BY_NAME:
        raise DataError(f"{table} row {row.number} has the split '{split}': write train, val or test")
    return SPLIT_BY_NAME[split]


def items_of(images: Sequence[Image], table: Path) -> Sequence[Item]:
    """The files of rows; if there are addresses among them, all of them are read when they are needed."""
    places = tuple(image.path if is_remote(image.path) else table.parent / image.path for image in images)
    if any(isinstance(place, str) for place in places):
        return LazyImages(Locations(places), np.arange(len(places)))
    return [place for place in places if isinstance(place, Path)]


def name_of(image: Image) -> str:
    return shown(image.path) if is_remote(image.path) else image.path


def require_consistent(images: Sequence[Image], table: Path) -> None:
    """Raises DataError if two rows give the same file different labels or splits.

    Identical rows are allowed, for instance to repeat the images of a rare class.
    """
    first: dict[str, Image] = {}
    for image in images:
        before = first.setdefault(image.path if is_remote(image.path) else os.path.normpath(image.path), image)
        for what, one, other in (("label", before.value, image.value), ("split", before.split, image.split)):
            if one != other:
                raise DataError(
                    f"{table} row {image.row} gives {name_of(image)} the {what} {other!r} and row {before.row} "
                    f"{one!r}: keep one row, or write several labels in one cell of a column called labels"
                )


def open_table(table: Path, reading: ReadOptions = DEFAULT_READ_OPTIONS) -> Dataset:
    """Open a CSV or TSV file; images are named by the path as written. Raises DataError naming an invalid row."""
    require_only(reading, str(table), "label_column")
    header, *rows = read_rows(table)
    layout = read_layout(header.fields, table, reading.label_column)
    if layout.label is not None:
        name = header.fields[layout.label].strip().lower()
        layout = replace(layout, separator=find_separator(rows, layout.label, name, table))
    images = [read_image(row, layout, table) for row in rows]
    require_consistent(images, table)
    parts = {}
    for split in dict.fromkeys(image.split for image in images):
        chosen = [image for image in images if image.split == split]
        values = [image.value for image in chosen]
        parts[split] = NamedLabels(items_of(chosen, table), values, [name_of(image) for image in chosen])
    return to_dataset(str(table), parts, tuple(layout.indicators))
