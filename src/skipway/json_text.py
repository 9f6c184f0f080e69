"""JSON for other programs: valid whatever the numbers and the names of files are."""

import json
import math
from typing import Any


def is_finite(value: Any) -> bool:
    """Whether no number in plain values is NaN or infinite, which JSON does not have."""
    if isinstance(value, dict | list | tuple):
        return all(map(is_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


def finite_or_null(value: Any) -> Any:
    """Plain values with None in place of NaN and infinite numbers."""
    if isinstance(value, dict):
        return {key: finite_or_null(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_null(one) for one in value]
    return value if is_finite(value) else None


def to_json(value: Any) -> str:
    """JSON with characters as they are, or with escapes where one, of a file's name, is an invalid byte; null for
    numbers that JSON does not have."""
    text = json.dumps(finite_or_null(value), ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(finite_or_null(value))
    return text
