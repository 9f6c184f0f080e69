"""Strategies for files as they might be after damage, or after somebody changed them on purpose."""

import copy
import json
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

from hypothesis import strategies as st

from skipway.errors import SkipwayError

T = TypeVar("T")
COUNTS: Counter[str] = Counter()  # of all inputs of this process: accepted, refused
NAN, INFINITE = float("nan"), float("inf")
DEEP: list[Any] = []
for _ in range(200):
    DEEP = [DEEP]
NUMBERS = [0, 1, -1, 2, 3, 7, 10**5, 10**9, 2**63, -(2**63), 10**30, 0.0, -0.0, 0.5, 1e-9, 1e-300, 1e308, NAN, INFINITE]
TEXTS = [
    "",
    "0",
    "x",
    "a\nb",
    "\x00",
    "\x1b[2J",
    "[/red]",
    "../../etc/passwd",
    "/",
    "\ud800",
    "é" * 300,
    "resnet50",
    "tag",
]
VALUES = st.sampled_from([*NUMBERS, *TEXTS, None, True, False, [], {}, [0] * 50, {"a": [None]}, DEEP])


def places(document: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths to all values of a JSON document but the whole."""
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    found = []
    for key, value in items:
        found += [(*at, key), *places(value, (*at, key))]
    return found


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """A JSON document with one to three values replaced, removed, doubled or added."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        known = places(document)
        if not known:
            break
        *way, last = draw(st.sampled_from(known))
        inside = document
        for key in way:
            inside = inside[key]
        kind = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "double"]))
        if kind == "replace":
            inside[last] = copy.deepcopy(draw(VALUES))  # which the next change may change
        elif kind == "remove":
            del inside[last]
        elif isinstance(inside, dict):
            inside[draw(st.sampled_from(["strange", *map(str, inside)]))] = copy.deepcopy(draw(VALUES))
        else:
            inside.append(copy.deepcopy(inside[last] if kind == "double" else draw(VALUES)))
    return document


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Bytes of which one to four stretches are replaced, cut out, doubled or put in; or which end early."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        many = draw(st.integers(0, 40))
        put = draw(
            st.binary(max_size=8) | st.sampled_from([b"", content[at : at + many], b"9" * 30, b"-", b"\x00", b"\xff"])
        )
        kind = draw(st.sampled_from(["replace", "replace", "insert", "end"]))
        content = content[:at] + {"replace": put + content[at + many :], "insert": put + content[at:], "end": b""}[kind]
    return content


def as_json(document: Any) -> bytes:
    return json.dumps(document).encode()


def refused_in_one_line(use: Callable[[], T]) -> T | None:
    """What `use` returns; None where it raises a SkipwayError, which must be one line for people."""
    try:
        found = use()
    except SkipwayError as error:
        require_one_line(str(error))
        COUNTS["refused"] += 1
        return None
    COUNTS["accepted"] += 1
    return found


def require_one_line(text: str) -> None:
    assert text.strip(), "the message is empty"
    assert "\n" not in text, text
    assert is_encodable(text), f"the message cannot be printed: {text!a}"


def is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
