"""Rows of tables of classes: dicts with "class" and figures, None where a class has none."""

from collections.abc import Sequence
from typing import Any


def numbered(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with the classes' numbers before their names, for a figure that shows only the numbers."""
    return [{**row, "class": f"{i} {row['class']}"} for i, row in enumerate(rows)]


def worst_first(rows: Sequence[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    """The rows by a figure from the lowest; classes without it come last."""
    return sorted(rows, key=lambda row: (row[key] is None, row[key] or 0.0))
