"""A table of images: CSV or TSV, a row an image, in UTF-8 with a header.

Columns are found by name, in any order and case: `path` (or `image`, `file`, `filename`), relative to the table's
folder or absolute; `label` (or `labels`, `class`, `target`); and `split`, where there is one. Several labels of an
image stand in one cell of a column called `labels`, separated by ";" or "|"; or each class has a column of 0 and 1.
The reading's label_column is the column of labels instead, whatever it is called, and other columns do not count then.
Fields are separated by commas, tabs or semicolons, whichever part the header into names. Rows are counted as a
spreadsheet does: the header is row 1. Spaces around labels do not count.
"""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import NamedTuple

from skipway.data.folder import SPLITS
from skipway.data.labels import Classes, Named, to_source
from skipway.data.reading import DEFAULT_READING, Reading, place_of, require_only
from skipway.data.source import Source
from skipway.errors import DataError

PATHS = ("path", "image", "file", "filename")
LABELS = ("label", "labels", "class", "target")
DELIMITERS = ",\t;"
SEPARATORS = ";|"  # of several labels in a cell
OF_SPLIT = {name: key for key, names in SPLITS.items() for name in names}
MARKS = {"0": False, "1": True}


class Row(NamedTuple):
    number: int
    fields: list[str]


class Image(NamedTuple):
    """What a row says."""

    row: int
    path: str
    value: Classes
    split: str


@dataclass(frozen=True)
class Layout:
    """Which columns hold what. `marks`: columns of 0 and 1 by class; `separator`: of several labels in a cell."""

    path: int
    label: int | None
    split: int | None
    marks: dict[str, int]
    separator: str = ""


def read_text(table: Path) -> str:
    """The whole table. Raises DataError for one that cannot be read or is not UTF-8, naming the row."""
    try:
        content = table.read_bytes()
        return content.decode("utf-8-sig")
    except OSError as fault:
        raise DataError(f"{table} cannot be read ({fault.strerror}): check it") from None
    except UnicodeDecodeError as fault:
        row = content.count(b"\n", 0, fault.start) + 1
        raise DataError(f"{table} row {row} is not UTF-8: save the table as UTF-8") from None


def delimiter_of(header: str) -> str:
    """The delimiter that parts the header into names of which one is a path's; the comma where none does."""

    def parts(delimiter: str) -> bool:
        names = next(csv.reader([header], delimiter=delimiter), [])
        return len(names) > 1 and any(name.strip().lower() in PATHS for name in names)

    return next(filter(parts, DELIMITERS), ",")


def read_rows(table: Path) -> list[Row]:
    """The header and every row that is not empty. Raises DataError naming a row that is ill."""
    text = read_text(table)
    delimiter = delimiter_of(text.split("\n", 1)[0].strip("\r"))
    rows: list[Row] = []
    try:
        for number, fields in enumerate(
            csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True), 1
        ):
            rows.append(Row(number, fields))
    except csv.Error as fault:
        raise DataError(f"{table} row {len(rows) + 1} cannot be read ({fault}): check its quotes") from None
    rows = [row for row in rows if row.fields]
    if len(rows) < 2:
        raise DataError(f"{table} has no rows: write a header such as path,label and then a row an image")
    columns = len(rows[0].fields)
    ill = next((row for row in rows if len(row.fields) != columns), None)
    if ill:
        raise DataError(f"{table} row {ill.number} has {len(ill.fields)} fields, the header {columns}: make them equal")
    return rows


def only(names: Sequence[str], wanted: Sequence[str], table: Path) -> int | None:
    """The place of the one name that is `wanted`; None where there is none. Raises DataError for several."""
    found = [i for i, name in enumerate(names) if name.lower() in wanted]
    if len(found) > 1:
        choice = f", or choose one by --label-column {quote(names[found[0]])}" if wanted is LABELS else ""
        raise DataError(f"{table} has columns {' and '.join(names[i] for i in found)}: keep one of them{choice}")
    return found[0] if found else None


def chosen_layout(names: Sequence[str], table: Path, label_column: str) -> Layout:
    """Which columns hold what where `label_column` holds the labels; others do not count. Raises DataError for names
    that are missing or there twice, UnknownNameError for a `label_column` that is not there."""
    label = place_of(label_column, names, str(table))
    rest = ["" if i == label else name for i, name in enumerate(names)]
    path, split = only(rest, PATHS, table), only(rest, ("split",), table)
    return Layout(require_path(path, names, table), label, split, {})


def require_path(path: int | None, names: Sequence[str], table: Path) -> int:
    """`path`, the place of the column of paths. Raises DataError where there is none."""
    if path is None:
        raise DataError(f"{table} has columns {', '.join(names)}: one called path is needed, or {', '.join(PATHS[1:])}")
    return path


def read_layout(header: Sequence[str], table: Path, label_column: str) -> Layout:
    """Which columns hold what. Raises DataError for names that are missing, unknown or there twice."""
    names = [name.strip() for name in header]
    if label_column:
        return chosen_layout(names, table, label_column)
    found, label, split = (only(names, wanted, table) for wanted in (PATHS, LABELS, ("split",)))
    path = require_path(found, names, table)
    others = {name: i for i, name in enumerate(names) if i not in (path, label, split)}
    if label is not None and others:
        raise DataError(
            f"{table} has columns that mean nothing here: {', '.join(map(repr, others))}; keep path, label and split, "
            f"or choose the label's by --label-column {quote(names[label])}"
        )
    if label is None and not others:
        raise DataError(f"{table} has no column called label, and no columns of 0 and 1, one a class: add one")
    if "" in others or len(others) < len(names) - sum(i is not None for i in (path, label, split)):
        raise DataError(f"{table} has columns without a name, or two of one name: give each class a column of its own")
    return Layout(path, label, split, others)


def separator_of(rows: Sequence[Row], label: int, name: str, table: Path) -> str:
    """What separates several labels in a cell; "" when each has one. Raises DataError where that cannot be told."""
    used = {mark: row for row in rows for mark in SEPARATORS if mark in row.fields[label]}
    if not used:
        return ""
    mark, row = next(iter(used.items()))
    if name != "labels":
        raise DataError(
            f"{table} row {row.number} has '{mark}' in column {name}: call the column labels if a cell holds several"
        )
    if len(used) > 1:
        raise DataError(f"{table} separates labels by both ; and |, such as in row {row.number}: use one of them")
    return mark


def value_of(row: Row, layout: Layout, table: Path) -> Classes:
    """The row's label, or its labels: an empty cell is none of them where cells hold several, and a fault elsewhere.

    Raises DataError for that, and for a mark but 0 and 1.
    """
    if layout.label is None:
        for name, i in layout.marks.items():
            if row.fields[i].strip() not in MARKS:
                raise DataError(
                    f"{table} row {row.number} has '{row.fields[i]}' in column {name}: without a column called label, "
                    "each other column is a class and holds 0 or 1; choose the label's by --label-column"
                )
        return tuple(name for name, i in layout.marks.items() if MARKS[row.fields[i].strip()])
    cell = row.fields[layout.label]
    if layout.separator and not cell.strip():
        return ()
    values = tuple(part.strip() for part in (cell.split(layout.separator) if layout.separator else [cell]))
    if "" in values:
        raise DataError(f"{table} row {row.number} has an empty label: give it one, or leave the row out")
    return values if layout.separator else values[0]


def read_image(row: Row, layout: Layout, table: Path) -> Image:
    """What the row says. Raises DataError naming it for what cannot be."""
    path = row.fields[layout.path]
    if not path:
        raise DataError(f"{table} row {row.number} has no path: give it one, or leave the row out")
    if Path(os.path.normpath(path)).parts[:1] == (os.pardir,):
        raise DataError(f"{table} row {row.number}: {path} leaves the table's folder; write the whole path from /")
    if not (table.parent / path).is_file():
        what = "is no file" if (table.parent / path).exists() else "does not exist"
        raise DataError(f"{table} row {row.number}: {path} {what}; paths begin at the table's folder")
    split = "train" if layout.split is None else row.fields[layout.split].strip().lower()
    if split not in OF_SPLIT:
        raise DataError(f"{table} row {row.number} has the split '{split}': write train, val or test")
    return Image(row.number, path, value_of(row, layout, table), OF_SPLIT[split])


def require_consistent(images: Sequence[Image], table: Path) -> None:
    """Raises DataError for a file that two rows give different labels or put into different splits.

    The same row twice is allowed: so one may repeat the images of a rare class.
    """
    first: dict[str, Image] = {}
    for image in images:
        before = first.setdefault(os.path.normpath(image.path), image)
        for what, one, other in (("label", before.value, image.value), ("split", before.split, image.split)):
            if one != other:
                raise DataError(
                    f"{table} row {image.row} gives {image.path} the {what} {other!r} and row {before.row} {one!r}: "
                    "keep one row, or write several labels into one cell of a column called labels"
                )


def open_table(table: Path, reading: Reading = DEFAULT_READING) -> Source:
    """The data set in a CSV or TSV file, images by the path as written. Raises DataError naming the row that is ill."""
    require_only(reading, str(table), "label_column")
    header, *rows = read_rows(table)
    layout = read_layout(header.fields, table, reading.label_column)
    if layout.label is not None:
        name = header.fields[layout.label].strip().lower()
        layout = replace(layout, separator=separator_of(rows, layout.label, name, table))
    images = [read_image(row, layout, table) for row in rows]
    require_consistent(images, table)
    parts = {}
    for split in dict.fromkeys(image.split for image in images):
        chosen = [image for image in images if image.split == split]
        items = [table.parent / image.path for image in chosen]
        parts[split] = Named(items, [image.value for image in chosen], [image.path for image in chosen])
    return to_source(str(table), parts, tuple(layout.marks))
