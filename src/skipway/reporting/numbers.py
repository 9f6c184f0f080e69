"""Formats numbers for people: counts, bytes, receptive fields, percentages."""

from collections.abc import Sequence

MISSING = "–"


def format_count(number: float) -> str:
    """A count with three digits and a unit: 25557032 -> "25.6 M"."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            value = number / size
            return f"{value:.{max(0, 2 - len(str(int(value))) + 1)}f} {unit}"
    return f"{number:.0f}"


def format_receptive_field(side: int | None) -> str:
    """A receptive field's side in pixels; None: the whole image."""
    return "all" if side is None else f"{side:,}"


def format_bytes(count: float) -> str:
    """Bytes with a unit: 1048576 -> "1.0 MiB"."""
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= size:
            return f"{count / size:.{0 if count >= 10 * size else 1}f} {unit}"
    return f"{count:.0f} B"


def percent(share: float | None) -> str:
    """A share of 1 in per cent with two decimals; a dash for None. Only 1 itself reads 100."""
    if share is None:
        return MISSING
    text = f"{100 * share:.2f}"
    return f"{'> 99.99' if share < 1 and text == '100.00' else text}\u00a0%"


def interval(ends: Sequence[float] | None) -> str:
    """Two shares of 1 in per cent; a dash for None."""
    return MISSING if ends is None else f"{percent(ends[0])[:-2]} to {percent(ends[1])[:-2]}"


def points(difference: float, digits: int = 1) -> str:
    """A difference of shares of 1 in percentage points, with its sign."""
    return f"{100 * difference:+.{digits}f}".replace("-", "−")
