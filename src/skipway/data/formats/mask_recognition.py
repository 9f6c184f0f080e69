"""Recognise what the values of masks mean: from their values, a table of classes, and the options --ignore and
--class-names.

255 has no class, except in masks of 0 and 255, which are background and foreground, and where a table names it.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

from skipway.data.formats.annotated_images import shown
from skipway.data.formats.class_table import OPTION, ClassRow, ClassTable, is_whole, plain
from skipway.data.mask_encoding import BACKGROUND, IGNORE, MAX_CLASSES, MaskEncoding
from skipway.data.mask_source import MaskError, MaskSource, count_values, read_values
from skipway.errors import DataError

FOREGROUND = "foreground"
BINARY = (0, 255)
Masks = Sequence[Mapping[int, int]]  # the pixels of each value, of each mask
SAMPLED = 20  # masks that decide whether values are colours
FEW = 8  # values between 0 and 255 from which on masks of two values are taken for blurred
BLURRED = 0.2  # of all pixels: masks with more of them between 0 and 255 are not of two values
LISTED = 12  # values that a message lists


def are_colours(table: ClassTable | None, sources: Iterable[MaskSource]) -> bool:
    """Whether the values of masks are the colours of `table`: where a mask has several channels, or most have only its
    colours. Masks that cannot be read say nothing."""
    if table is None or not table.coloured:
        return False
    known = {row.colour for row in table.rows}
    within = without = 0
    for source in islice(sources, SAMPLED):
        try:
            colours = count_values(read_values(source, coloured=True))
        except MaskError:
            continue
        inside = colours.keys() <= known
        within, without = within + inside, without + (not inside)
        try:
            read_values(source, coloured=False)
        except MaskError:
            return True
    return within > without


def ranges(values: Sequence[int]) -> str:
    """Rising values for people: 0 to 10, 12, 255."""
    runs: list[list[int]] = []
    for value in values:
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    shown_runs = [
        f"{low} to {high}" if high > low + 1 else ", ".join(map(str, dict.fromkeys((low, high))))
        for low, high in runs[:LISTED]
    ]
    return ", ".join(shown_runs) + (", ..." if len(runs) > LISTED else "")


def require_sharp(name: str, counts: Mapping[int, int]) -> None:
    """Raises DataError for masks of 0 and 255 with values between, as resizing leaves them at the edges."""
    total, between = sum(counts.values()), sum(n for value, n in counts.items() if value not in BINARY)
    others = len(counts.keys() - set(BINARY))
    if set(BINARY) <= counts.keys() and others >= FEW and between < BLURRED * total:
        raise DataError(
            f"{name} has masks of 0 and 255 with {others} values between them, {between / total:.2%} of the pixels, as "
            f"smooth resizing leaves them: make them with nearest neighbours, or name the classes by {OPTION}"
        )


class Ignoring:
    """The option --ignore: `values` and, for comparison, `names`, each of which masks or classes must have."""

    def __init__(self, text: str) -> None:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        self.values = {int(part) for part in parts if is_whole(part)}
        self.names = {plain(part): part for part in parts if not is_whole(part)}

    def require_known(self, rows: Sequence[ClassRow], found: set[int], name: str) -> None:
        """Raises DataError for a name that no class has, and for a value that neither a class nor a mask has, of which
        all have the values `found`."""
        unknown = self.names.keys() - {plain(row.name) for row in rows}
        if unknown:
            first = shown(self.names[min(unknown)])
            known = ", ".join(row.name for row in rows[:LISTED])
            raise DataError(f"--ignore {first} is no class of {name}: it has {known}")
        values = self.values - found - {IGNORE, *(row.value for row in rows)}
        if values and found:
            raise DataError(f"--ignore {min(values)} is in no mask of {name}: they have {ranges(sorted(found))}")


def covered(masks: Masks, values: set[int]) -> int:
    """How many masks have no other values."""
    return sum(mask.keys() <= values for mask in masks)


def most_within(masks: Masks, values: Iterable[int]) -> bool:
    """Whether more than half of the masks have no other values: the rest are wrong, and will be named one by one."""
    return 2 * covered(masks, set(values)) > len(masks) or not masks


def candidates(masks: Masks, found: Sequence[int], count: int, skipped: set[int]) -> list[int]:
    """The values that `count` names are for: 0, 1, 2, ..., or that without the values `skipped` if more masks have no
    others; or else those found, with or without `skipped`; empty if none fits."""
    unnamed = skipped | {IGNORE}
    without = list(islice((value for value in range(MAX_CLASSES * 2) if value not in unnamed), count))
    with_skipped = list(islice((value for value in range(MAX_CLASSES * 2) if value != IGNORE), count))
    first = max(with_skipped, without, key=lambda values: covered(masks, {*values, *unnamed}))
    if most_within(masks, {*first, *unnamed}):
        return first
    rest = [value for value in found if value not in skipped]
    return next((list(values) for values in (found, rest) if len(values) == count), [])


def valued_rows(table: ClassTable, masks: Masks, found: Sequence[int], skipped: set[int]) -> list[ClassRow]:
    """The rows of a table with the values that they are for: of the values `found`, `skipped` may have no rows. Raises
    DataError if that cannot be known."""
    if table.valued:
        return list(table.rows)
    if any(row.value is not None for row in table.rows):
        raise DataError(f"{table.where} gives values to some names and not to others: give them to all")
    matched = candidates(masks, found, len(table.rows), skipped)
    if table.coloured and len(table.rows) not in (len(found), len(set(found) - skipped)):
        matched = []  # whether the rows of a table of colours are in the order of the values is not known
    if not matched:
        raise DataError(
            f"{table.where} has {len(table.rows)} names, and the masks have {len(found)} values, {ranges(found)}: give "
            f"one name for each in their order by {OPTION}, and what is no class by --ignore"
        )
    return [ClassRow(row.name, value) for row, value in zip(table.rows, matched, strict=True)]


def binary_rows(table: ClassTable | None, skipped: Sequence[int]) -> list[ClassRow]:
    """The rows of masks of 0 and 255, and of the values `skipped` if the table names these too. Raises DataError."""
    if table is None:
        return [ClassRow(BACKGROUND, 0), ClassRow(FOREGROUND, IGNORE)]
    for values in (sorted({*BINARY, *skipped}), BINARY):
        if len(values) == len(table.rows):
            return [ClassRow(row.name, value) for row, value in zip(table.rows, values, strict=True)]
    raise DataError(f"{table.where} has {len(table.rows)} names, and the masks have the values 0 and 255")


def class_rows(name: str, masks: Masks, table: ClassTable | None, ignoring: Ignoring) -> list[ClassRow]:
    """The classes of masks that are not coloured, by rising value. Raises DataError."""
    skipped = ignoring.values
    counts: Counter[int] = Counter()
    for mask in masks:
        counts.update(mask)
    valued = table is not None and table.valued
    binary = IGNORE in counts.keys() - skipped and not valued and most_within(masks, {*BINARY, *skipped})
    if binary:
        return binary_rows(table, sorted(skipped & counts.keys()))
    found = sorted(counts.keys() - {IGNORE})
    if table is not None:
        return sorted(valued_rows(table, masks, found, skipped), key=lambda row: row.value or 0)
    require_sharp(name, counts)
    return [ClassRow(str(value), value) for value in found]


def recognise(
    name: str, masks: Masks, found: set[int], coloured: bool, table: ClassTable | None, ignore: str
) -> tuple[tuple[str, ...], MaskEncoding]:
    """The classes of the data set `name`, and the encoding of its masks.

    masks: those for training, or all if there are none for training; found: the values in the masks of all splits;
    coloured: as `are_colours` says. Raises DataError if names and values do not fit, if no mask has what is to be
    ignored, and for more than 255 classes.
    """
    ignoring = Ignoring(ignore)
    if coloured:
        assert table is not None
        if ignoring.values:
            raise DataError(f"--ignore {ignore}: the masks of {name} are coloured, so give the names of classes")
        rows = list(table.rows)
    else:
        rows = class_rows(name, masks, table, ignoring)
    ignoring.require_known(rows, found, name)
    without = ignoring.names.keys()
    codes = {(row.colour if coloured else row.value) or 0: row for row in rows}
    ignored = {code for code, row in codes.items() if row.ignored or plain(row.name) in without}
    ignored |= ignoring.values | ({IGNORE} - codes.keys() if not coloured else set())
    kept = [(code, row) for code, row in codes.items() if code not in ignored]
    if len(kept) > MAX_CLASSES:
        raise DataError(
            f"{name} has masks of {len(kept):,} values, and at most {MAX_CLASSES} classes are possible: are these "
            f"label maps? If they are, name the classes by {OPTION}"
        )
    labels = {code: label for label, (code, _) in enumerate(kept)} | dict.fromkeys(ignored, IGNORE)
    classes = tuple(BACKGROUND if plain(row.name) == BACKGROUND else row.name for _, row in kept)
    values = tuple(sorted(labels))
    encoding = MaskEncoding(values, tuple(labels[value] for value in values), coloured)
    return classes, MaskEncoding(values, encoding.labels, coloured, described(encoding, table, rows))


def described(encoding: MaskEncoding, table: ClassTable | None, rows: Sequence[ClassRow]) -> str:
    """What was recognised, in a line."""
    classes = [value for value, label in zip(encoding.values, encoding.labels, strict=True) if label != IGNORE]
    if encoding.coloured:
        names = ", ".join(row.name for row in rows if row.colour in encoding.ignored) or "none"
        return f"masks in colours named by {table.where if table else ''}; ignored: {names}"
    if not classes:
        why = "all of their values are ignored" if rows else "none could be read"
        return f"masks without classes: {why}"
    ignored = ranges(encoding.ignored) or "no value"
    if table is not None:
        numbered = not table.valued and encoding.ignored != (IGNORE,)
        first = next((f" ({row.value} is {row.name})" for row in rows if numbered and row.value in classes), "")
        return f"masks of values {ranges(classes)}, named by {table.where}{first}; ignored: {ignored}"
    if [row.name for row in rows] == [BACKGROUND, FOREGROUND]:
        return "masks of 0 for background and 255 for foreground"
    how = f"{OPTION} or a classes.txt beside the masks names them"
    return f"masks of values {ranges(classes)}, which are the names of the classes: {how}; ignored: {ignored}"
