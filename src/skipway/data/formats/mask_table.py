"""Data sets in a CSV or TSV table of images and their masks: columns `image` (or `path`, `file`, `filename`) and
`mask`, both relative to the table's folder or absolute, and optionally `split`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from skipway.data.dataset import Dataset
from skipway.data.formats.class_table import find_class_table
from skipway.data.formats.csv import (
    INDICATORS,
    PATH_NAMES,
    SPLIT_BY_NAME,
    Row,
    find_column,
    open_table,
    path_in,
    read_rows,
    require_path,
)
from skipway.data.formats.masked_images import MaskedImage, given_mask, to_mask_dataset
from skipway.data.read_options import ReadOptions, require_only
from skipway.errors import DataError

MASK_NAMES = ("mask", "masks", "label_map")


class Columns(NamedTuple):
    """Column indices."""

    image: int
    mask: int
    split: int | None


def has_masks(rows: Sequence[Row]) -> bool:
    """Whether a table, header first, has a column of masks; one of 0 and 1 says whether an image has a class."""
    names = [name.strip().lower() for name in rows[0].fields]
    column = next((i for i, name in enumerate(names) if name in MASK_NAMES), None)
    return column is not None and rows[1].fields[column].strip() not in INDICATORS


def columns_of(header: Sequence[str], table: Path) -> Columns:
    """The columns of a header. Raises DataError for missing, repeated or unknown ones."""
    names = [name.strip() for name in header]
    path, mask, split = (find_column(names, wanted, table) for wanted in (PATH_NAMES, MASK_NAMES, ("split",)))
    assert mask is not None
    columns = Columns(require_path(path, names, table), mask, split)
    others = [name for i, name in enumerate(names) if i not in columns]
    if others:
        raise DataError(
            f"{table} has unknown columns beside image and mask: {', '.join(map(repr, others))}; keep only image, mask "
            f"and split, or choose a column of labels with --label-column"
        )
    return columns


def image_of(row: Row, columns: Columns, table: Path) -> MaskedImage:
    """The image of a row, and its mask. Raises DataError for a row without them, or of another split."""
    image, mask = (path_in(row, row.fields[column], table) for column in (columns.image, columns.mask))
    split = "train" if columns.split is None else row.fields[columns.split].strip().lower()
    if split not in SPLIT_BY_NAME:
        raise DataError(f"{table} row {row.number} has the split '{split}': write train, val or test")
    path = table.parent / image
    where = f"{table.name} row {row.number}, {mask}"
    found = path if path.is_file() else None
    return MaskedImage(SPLIT_BY_NAME[split], image, found, where, given_mask(table.parent / mask))


def open_mask_table(table: Path, rows: Sequence[Row], reading: ReadOptions) -> Dataset:
    """The data set in a table of which `rows` are the header and all others. Raises DataError naming an invalid row."""
    columns = columns_of(rows[0].fields, table)
    images: Iterator[MaskedImage] = (image_of(row, columns, table) for row in rows[1:])
    classes = find_class_table(reading.class_names, [table.parent], table)
    return to_mask_dataset(str(table), images, classes, reading.ignore)


def open_any_table(table: Path, reading: ReadOptions) -> Dataset:
    """The data set in a table, of masks if it has a column of them and no label column is given. Raises DataError."""
    require_only(reading, str(table), "label_column", "ignore", "class_names")
    rows = [] if reading.label_column else read_rows(table)
    return open_mask_table(table, rows, reading) if rows and has_masks(rows) else open_table(table, reading)
