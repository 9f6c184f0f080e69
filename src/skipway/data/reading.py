"""What the user says about a data set whose files leave open how to read it, and how that is applied to columns.

A `Source` keeps its `Reading`, so that whoever opens the data set again reads it the same way.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from skipway.data.findings import printable
from skipway.errors import DataError, UnknownNameError

SHOWN = 20  # columns that a message names
FOR = {
    "label_column": "is for a table, parquet or a data set of the hub",
    "label_pattern": "is for a folder of images",
}


@dataclass(frozen=True)
class Reading:
    """label_column: the column with the labels; label_pattern: a regular expression that finds an image's class in its
    file's name (see `name_pattern`). Empty where nothing is said. Raises TypeError for anything but text."""

    label_column: str = ""
    label_pattern: str = ""

    def __post_init__(self) -> None:
        if not all(isinstance(value, str) for value in asdict(self).values()):
            raise TypeError("label_column and label_pattern are text")

    def options(self) -> list[str]:
        """The words that say the same on a command line, not quoted; none for what is empty."""
        given = ((option_of(name), value) for name, value in asdict(self).items() if value)
        return [word for pair in given for word in pair]


DEFAULT_READING = Reading()


def option_of(name: str) -> str:
    """The command line's option for a field of `Reading`."""
    return f"--{name.replace('_', '-')}"


def require_only(reading: Reading, where: str, taken: str = "") -> None:
    """Raises DataError where the reading says anything but the field `taken`, which `where` has no use for."""
    for name, value in asdict(reading).items():
        if value and name != taken:
            raise DataError(f"{option_of(name)} {FOR[name]}, and {where} is none: leave it out")


def place_of(label_column: str, names: Sequence[str], where: str) -> int:
    """The place of the column called `label_column`, or, where none is, of the one that differs in case alone.

    Raises UnknownNameError naming the columns that there are, and DataError for several of one name.
    """
    places = [i for i, name in enumerate(names) if name == label_column]
    places = places or [i for i, name in enumerate(names) if name.lower() == label_column.lower()]
    if not places:
        some = ", ".join(map(printable, names[:SHOWN]))
        more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
        raise UnknownNameError("label column", printable(label_column), names, f"{where} has columns {some}{more}")
    if len(places) > 1:
        raise DataError(f"{where} has {len(places)} columns called {printable(label_column)}: rename all but one")
    return places[0]
