"""JSON that any program reads."""

import json
import math

from skipway.json_text import to_json


def test_numbers_that_json_does_not_have_are_null() -> None:
    value = {"loss": math.nan, "rows": [(1.5, -math.inf), {"name": "ü"}], "n": 3}
    text = to_json(value)
    assert json.loads(text, parse_constant=lambda name: name) == {
        "loss": None,
        "rows": [[1.5, None], {"name": "ü"}],
        "n": 3,
    }
    assert "ü" in text


def test_a_file_name_that_is_no_text_is_escaped() -> None:
    text = to_json({"image": "photo-\udcff.jpg"})
    text.encode()
    assert json.loads(text) == {"image": "photo-\udcff.jpg"}
