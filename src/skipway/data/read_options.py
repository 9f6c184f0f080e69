"""Options for reading a data set that its files do not determine: the label column, the label pattern, the format of
annotations, and what the values of masks mean.

A `Dataset` stores its `ReadOptions`, so that it is read the same way when it is opened again.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from skipway.errors import DataError, UnknownNameError, printable

MAX_LISTED = 20  # columns listed in a message
APPLIES_TO = {
    "label_column": "is for a table, parquet or a data set of the hub",
    "label_pattern": "is for a folder of images",
    "format": "is for a folder or file with annotations of boxes or masks",
    "ignore": "is for data with a mask for each image",
    "class_names": "is for data with a mask for each image",
    "task": "is for data that suit several tasks",
}


@dataclass(frozen=True)
class ReadOptions:
    """label_column: the column with the labels; label_pattern: a regular expression that finds an image's class in its
    file name (see `name_pattern`); format: of annotations, a key of `data.BOX_FORMATS` or `data.MASK_FORMATS`; ignore:
    values or names of classes in masks that are neither learnt nor counted, separated by commas; class_names: a table
    of the classes in masks (see `class_table`), or their names in the order of their values, separated by commas;
    task: what to learn from the images instead of their annotations, a key of `image_targets.CONVERSIONS`. Empty
    if not given. Raises TypeError for values that are not strings."""

    label_column: str = ""
    label_pattern: str = ""
    format: str = ""
    ignore: str = ""
    class_names: str = ""
    task: str = ""

    def __post_init__(self) -> None:
        if not all(isinstance(value, str) for value in asdict(self).values()):
            raise TypeError(f"{', '.join(asdict(self))} must be strings")

    def options(self) -> list[str]:
        """The equivalent command line arguments, not quoted; empty options are omitted."""
        given = ((option_of(name), value) for name, value in asdict(self).items() if value)
        return [argument for pair in given for argument in pair]


DEFAULT_READ_OPTIONS = ReadOptions()


def option_of(name: str) -> str:
    """The command line option for a field of `ReadOptions`."""
    return f"--{name.replace('_', '-')}"


def require_only(reading: ReadOptions, where: str, *supported: str) -> None:
    """Raises DataError if `reading` sets any field but `supported`, those that apply to `where`."""
    for name, value in asdict(reading).items():
        if value and name not in supported:
            raise DataError(f"{option_of(name)} {APPLIES_TO[name]}, which {where} is not: leave it out")


def column_index(label_column: str, names: Sequence[str], where: str) -> int:
    """The index of the column called `label_column`, or else of the one that differs only in case.

    Raises UnknownNameError naming the existing columns, and DataError for several columns of that name.
    """
    indices = [i for i, name in enumerate(names) if name == label_column]
    indices = indices or [i for i, name in enumerate(names) if name.lower() == label_column.lower()]
    if not indices:
        listed = ", ".join(map(printable, names[:MAX_LISTED]))
        more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
        raise UnknownNameError("label column", printable(label_column), names, f"{where} has columns {listed}{more}")
    if len(indices) > 1:
        raise DataError(f"{where} has {len(indices)} columns called {printable(label_column)}: rename all but one")
    return indices[0]
