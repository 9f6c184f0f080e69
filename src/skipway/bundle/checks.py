"""Checks of values from JSON: each takes a value and the name of its field, and raises ValueError for another one."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

LARGEST_INTEGER = 1 << 63
DEEPEST = 32  # objects and lists within each other
Check = Callable[[Any, str], None]


def require(valid: object, field: str, expected: str, value: Any) -> None:
    """Raises ValueError unless `valid`."""
    if not valid:
        raise ValueError(f"{field} must be {expected}, not {shown(value)}")


def shown(value: Any) -> str:
    """A value from JSON in a few characters of ASCII."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def require_plain(values: Any) -> None:
    """Raises ValueError for text that is not Unicode, and for numbers that JSON or 64 bits cannot hold."""
    waiting: list[tuple[str, Any, int]] = [("", values, 0)]
    while waiting:
        field, value, depth = waiting.pop()
        require(depth <= DEEPEST, field, f"nested at most {DEEPEST} deep", value)
        if isinstance(value, str):
            require(is_unicode(value), field, "text in Unicode", value)
        elif isinstance(value, float):
            require(math.isfinite(value), field, "a finite number", value)
        elif isinstance(value, int):
            require(abs(value) <= LARGEST_INTEGER, field, "an integer of 64 bits", value)
        waiting += [(name, inner, depth + 1) for name, inner in inside(value, field)]


def inside(value: Any, field: str) -> Iterator[tuple[str, Any]]:
    """The values in an object or a list, each with the name of its field."""
    if isinstance(value, dict):
        for name in value:
            require(is_unicode(name), field or "the card", "an object whose names are Unicode", value)
        yield from ((f"{field}.{name}".lstrip("."), one) for name, one in value.items())
    elif isinstance(value, list):
        yield from ((f"{field}[{i}]", one) for i, one in enumerate(value))


def is_unicode(text: str) -> bool:
    """Whether `text` has no lone surrogate, which JSON can escape and nothing else can encode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def require_fields(values: Mapping[str, Any], field: str, needed: Any, known: Any = None) -> None:
    """Raises ValueError where one of the fields `needed` is missing, or one is not `known`; None: any may be there."""
    prefix = f"{field}." if field else ""
    missing = [name for name in needed if name not in values]
    unknown = [] if known is None else [name for name in values if name not in known]
    if missing:
        raise ValueError(f"{prefix}{missing[0]} is missing")
    if unknown:
        raise ValueError(f"{prefix}{shown(unknown[0])} is not known")


def text(value: Any, field: str) -> None:
    require(isinstance(value, str), field, "text", value)


def name(value: Any, field: str) -> None:
    require(isinstance(value, str) and value, field, "text that is not empty", value)


def count(value: Any, field: str) -> None:
    require(type(value) is int and value >= 0, field, "a count", value)


def number(low: float, high: float) -> Check:
    """The check that a value is a number from `low` to `high`."""

    def check(value: Any, field: str) -> None:
        require(type(value) in (int, float) and low <= value <= high, field, f"from {low:g} to {high:g}", value)

    return check


def integer(low: int, high: int) -> Check:
    """The check that a value is an integer from `low` to `high`."""

    def check(value: Any, field: str) -> None:
        require(type(value) is int and low <= value <= high, field, f"an integer from {low} to {high}", value)

    return check


def one_of(*known: Any) -> Check:
    """The check that a value is one of `known`."""

    def check(value: Any, field: str) -> None:
        valid = any(type(value) is type(one) and value == one for one in known)
        require(valid, field, f"one of {', '.join(map(str, known))}", value)

    return check


def listed(check_one: Check) -> Check:
    """The check that a value is a list whose elements pass `check_one`."""

    def check(value: Any, field: str) -> None:
        require(isinstance(value, list), field, "a list", value)
        for i, one in enumerate(value):
            check_one(one, f"{field}[{i}]")

    return check


def mapping(check_one: Check) -> Check:
    """The check that a value is an object whose values pass `check_one`."""

    def check(value: Any, field: str) -> None:
        require(isinstance(value, dict), field, "an object", value)
        for key, one in value.items():
            check_one(one, f"{field}.{key}")

    return check


def fields(checks: Mapping[str, Check], needed: tuple[str, ...] = (), others: bool = False) -> Check:
    """The check that a value is an object with the fields `needed`, that those of `checks` pass them, and that there
    are no `others`."""

    def check(value: Any, field: str) -> None:
        require(isinstance(value, dict), field, "an object", value)
        require_fields(value, field, needed, None if others else checks)
        for key in checks.keys() & value.keys():
            checks[key](value[key], f"{field}.{key}")

    return check
