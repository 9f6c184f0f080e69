"""The data that a network was trained on, opened again as they were then."""

from dataclasses import replace
from typing import Any

import numpy as np

from skipway.bundle import Card
from skipway.data import open_source
from skipway.data.reading import Reading
from skipway.data.source import Source, fingerprint


def reading_of(card: Card) -> Reading:
    """How the training data were read."""
    return Reading(**card.data.get("reading", {}))


def opened_again(data: str | Source | None, card: Card) -> tuple[Source, str]:
    """`data`, or those that the network was trained on (None), and their fingerprint.

    Those of the training are read as they were then, and without the images that the training left out: their
    fingerprint is then that of the card. Raises DataError where they cannot be opened.
    """
    if isinstance(data, Source):
        source = data
    else:
        own = data is None or data == card.data["name"]
        source = open_source(card.data["name"], reading_of(card)) if own else open_source(str(data))
    mark = fingerprint(source)
    if mark != card.data["fingerprint"] and card.data.get("left_out"):
        fewer = without(source, dict(card.data["left_out"]))
        if fingerprint(fewer) == card.data["fingerprint"]:
            return fewer, card.data["fingerprint"]
    return source, mark


def without(source: Source, reasons: dict[str, str]) -> Source:
    """`source` less the images named in `reasons`, which say why."""
    fewer: dict[str, Any] = {}
    gone: list[tuple[str, str]] = []
    for key, split in source.splits.items():
        fewer[key] = split.take(np.array([i for i, name in enumerate(split.names) if name not in reasons], dtype=int))
        gone += [(name, reasons[name]) for name in split.names if name in reasons]
    return replace(source, **fewer, left_out=(*source.left_out, *gone))
