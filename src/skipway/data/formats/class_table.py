"""Tables of the classes in masks: a file beside the masks, or the option --class-names.

A line of text is a name, `value name`, `value: name`, `red green blue name`, or the same with the name first and with
commas; or, as CVAT writes it, `name:red,green,blue:parts:actions`. JSON is a list of names, names with their value or
colour, or a list of objects with a name and a value (also called id) or colour. Names without values belong to the
values in order.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skipway.data.decode import SUFFIXES
from skipway.data.formats.annotated_images import shown
from skipway.data.mask_source import MAX_VALUE
from skipway.errors import DataError

FILES = (  # tables of colours first: only they can be needed beside a list of names
    "label_colors.txt",
    "label_colours.txt",
    "labelmap.txt",
    "class_dict.csv",
    "classes.csv",
    "labels.csv",
    "classes.json",
    "labels.json",
    "classes.txt",
    "class_names.txt",
    "labels.txt",
)
IGNORED_NAMES = ("void", "ignore", "ignored", "unlabeled", "unlabelled", "don't care", "dont care", "dontcare")
NAMES = {"name", "names", "class", "classes", "label", "category"}  # words in the heading of a column of names
HEADINGS = NAMES | {"pixel", "value", "id", "index", "r", "g", "b", "red", "green", "blue", "color", "colour", "rgb"}
MAX_BYTES = 1 << 20  # of a table
OPTION = "--class-names"


@dataclass(frozen=True)
class ClassRow:
    """A class: its name, and its value or its colour, 0xRRGGBB, if the table gives them."""

    name: str
    value: int | None = None
    colour: int | None = None

    @property
    def ignored(self) -> bool:
        """Whether the name says that its pixels have no class."""
        return plain(self.name) in IGNORED_NAMES


@dataclass(frozen=True)
class ClassTable:
    """The rows of a table; `where`: its file, or the option, for messages."""

    rows: tuple[ClassRow, ...]
    where: str

    @property
    def coloured(self) -> bool:
        return all(row.colour is not None for row in self.rows)

    @property
    def valued(self) -> bool:
        return all(row.value is not None for row in self.rows)


def plain(name: str) -> str:
    """A name without case and without the underscores that tools put around and into special names."""
    return name.replace("_", " ").strip().casefold()


def to_row(name: str, numbers: Sequence[int], where: str) -> ClassRow:
    """A row of a name with no number, a value, or a colour. Raises DataError for numbers out of range."""
    limit = MAX_VALUE if len(numbers) < 3 else 255
    if any(not 0 <= number <= limit for number in numbers):
        raise DataError(f"{where} has the number {max(numbers, key=abs)}: write 0 to {limit}")
    if len(numbers) == 3:
        return ClassRow(name, colour=numbers[0] << 16 | numbers[1] << 8 | numbers[2])
    return ClassRow(name, value=numbers[0]) if numbers else ClassRow(name)


def is_whole(text: str) -> bool:
    return bool(re.fullmatch(r"-?\d{1,6}", text))


def numbers_first(fields: list[str], where: str) -> ClassRow | None:
    for count in (3, 1):
        if len(fields) > count and all(map(is_whole, fields[:count])) and not is_whole(fields[count]):
            return to_row(" ".join(fields[count:]), [int(field) for field in fields[:count]], where)
    return None


def numbers_last(fields: list[str], where: str) -> ClassRow | None:
    for count in (3, 1):
        if len(fields) > count and all(map(is_whole, fields[-count:])) and not is_whole(fields[-count - 1]):
            return to_row(" ".join(fields[:-count]), [int(field) for field in fields[-count:]], where)
    return None


def with_colon(fields: list[str], where: str) -> ClassRow | None:
    """A row such as `0: ground`."""
    found = re.fullmatch(r"(-?\d{1,6})\s*:\s*([^:]*[^:\d\s][^:]*)", " ".join(fields))
    return to_row(found[2], [int(found[1])], where) if found else None


def of_cvat(fields: list[str], where: str) -> ClassRow | None:
    """A row of CVAT's labelmap.txt."""
    parts = ",".join(fields).split(":")
    numbers = [number.strip() for number in parts[1].split(",")] if len(parts) > 1 else []
    if len(numbers) != 3 or not all(map(is_whole, numbers)):
        return None
    return to_row(parts[0], [int(number) for number in numbers], where)


def only_name(fields: list[str], where: str) -> ClassRow:
    """A row of a name. Raises DataError for one that is something else: with numbers, with semicolons, or a path."""
    text = " ".join(fields)
    numbers = len(fields) > 1 and (is_whole(fields[0]) or is_whole(fields[-1]))
    if numbers or re.match(r"-?\d+\s*:", text):
        what = "numbers and a name, and not every line is so: write only names, or the same in each line"
    elif ";" in text:
        what = "semicolons: write one name a line, or separate numbers and name by commas"
    elif any(Path(field).suffix.lower() in SUFFIXES or re.match(r"\.{0,2}[/\\]", field) for field in fields):
        what = "a path, and not the name of a class: write one name a line, or rename this file if it is no such table"
    else:
        return ClassRow(text)
    raise DataError(f"{where}, {shown(text)}, has {what}")


FORMS: tuple[Callable[[list[str], str], ClassRow | None], ...] = (of_cvat, with_colon, numbers_first, numbers_last)


def is_heading(fields: Sequence[str], table: bool) -> bool:
    """Whether a line has the headings of columns. A single word is one only in a `table`; else it may be a class."""
    words = {word for field in fields for word in re.split(r"[\s_]+", field.casefold()) if word}
    return words <= HEADINGS and bool(words & NAMES) and (table or len(fields) > 1)


def rows_of_text(text: str, where: str) -> list[ClassRow]:
    """The rows of a text, all of the same form. Raises DataError naming a line."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    commas = any("," in line for _, line in lines)
    split = (lambda line: next(csv.reader([line]))) if commas else str.split
    try:
        fields = [(number, [field.strip() for field in split(line) if field.strip()]) for number, line in lines]
    except csv.Error as error:
        raise DataError(f"{where} is not a table ({error}): correct it") from None
    if fields and is_heading(fields[0][1], where.lower().endswith(".csv")):
        fields = fields[1:]
    placed = [(one, f"{where} line {number}") for number, one in fields if one]
    for form in FORMS:
        found = [row for one, line in placed if (row := form(one, line)) is not None]
        if len(found) == len(placed):
            return found
    return [only_name(one, line) for one, line in placed]


def row_of_json(name: Any, value: Any, where: str) -> ClassRow:
    """A row of a name and its value or colour, None if there is none. Raises DataError for what is neither."""
    numbers = value if isinstance(value, list) else [] if value is None else [value]
    if not isinstance(name, str) or len(numbers) not in (0, 1, 3) or not all(type(one) is int for one in numbers):
        raise DataError(f"{where} gives {shown(name)} the value {shown(value)}: write a name, and a number or a colour")
    return to_row(name, numbers, where)


def rows_of_json(text: str, where: str) -> list[ClassRow]:
    """The rows of a JSON text. Raises DataError."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{where} is not valid JSON: correct it") from None
    if isinstance(content, dict):
        if all(map(is_whole, content)):  # value: name
            return [row_of_json(name, int(value), where) for value, name in content.items()]
        return [row_of_json(name, value, where) for name, value in content.items()]
    if not isinstance(content, list):
        raise DataError(f"{where} is neither a list nor an object: list the names of the classes")
    rows = []
    for one in content:
        if not isinstance(one, dict):
            rows.append(row_of_json(one, None, where))
            continue
        value = next((one[key] for key in ("color", "colour", "value", "id", "label") if key in one), None)
        rows.append(row_of_json(one.get("name"), value, where))
    return rows


def checked(rows: Iterable[ClassRow], where: str) -> ClassTable:
    """The table. Raises DataError for one without rows, for names that are empty, unprintable or repeated, and for
    values or colours that are repeated."""
    rows = [ClassRow(row.name.strip(), row.value, row.colour) for row in rows]
    if rows and rows[0] == ClassRow("__ignore__"):
        rows = rows[1:]  # labelme's list, whose values are counted from -1
    if not rows:
        raise DataError(f"{where} names no class: write one name a line")
    names: set[str] = set()
    codes: set[int] = set()
    for row in rows:
        if not row.name or not row.name.isprintable():
            raise DataError(f"{where} has the class name {shown(row.name)}: write printable names")
        code = row.colour if row.colour is not None else row.value
        if (row.name in names and not row.ignored) or code in codes:
            what = f"the class name {shown(row.name)}" if row.name in names else f"the value of {shown(row.name)}"
            raise DataError(f"{where} has {what} twice: keep one")
        names.add(row.name)
        codes |= set() if code is None else {code}
    return ClassTable(tuple(rows), where)


def read_class_table(file: Path) -> ClassTable:
    """The table in a file. Raises DataError."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise DataError(f"{file} has more than {MAX_BYTES:,} bytes, too many for a list of classes: correct it")
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}): correct it") from None
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8: save it as UTF-8") from None
    rows = rows_of_json(text, str(file)) if file.suffix.lower() == ".json" else rows_of_text(text, str(file))
    return checked(rows, str(file))


def find_class_table(class_names: str, folders: Sequence[Path], pairs: Path | None = None) -> ClassTable | None:
    """The table of the option --class-names, a file or names separated by commas; if it is empty, that of the first of
    FILES in the first of `folders` that has one, except `pairs`, the table of images and masks. None if there is none.
    Raises DataError."""
    if class_names:
        files = [folder / class_names for folder in (Path(), *folders)]
        file = next((file for file in files if len(class_names) < 256 and file.is_file()), None)
        if file is not None:
            return read_class_table(file)
        if "," not in class_names:
            raise DataError(f"{OPTION} {shown(class_names)} is no file: give a file, or names separated by commas")
        return checked([ClassRow(name) for name in class_names.split(",")], OPTION)
    for folder in folders:
        for name in FILES:
            if folder / name != pairs and (folder / name).is_file():
                return read_class_table(folder / name)
    return None
