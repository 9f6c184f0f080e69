"""Errors that users see: one line, for any terminal, with the nearest name."""

import sys
import unicodedata

import pytest

from skipway.errors import UnknownNameError, first_line, is_printable, matching, printable, refuse_if


def test_the_first_line_of_an_error_is_its_message_or_else_its_type() -> None:
    assert first_line(ValueError("\n  one\ntwo\nthree")) == "one"
    assert first_line(ValueError("")) == "ValueError"
    assert first_line(KeyError()) == "KeyError"


def test_an_unknown_name_is_answered_with_the_nearest_and_where_to_see_all() -> None:
    said = str(UnknownNameError("model", "resnet51", ["vgg16", "resnet50", "resnet101"], "see `skipway list`"))
    assert said == "unknown model 'resnet51': did you mean 'resnet50'? see `skipway list`"
    assert str(UnknownNameError("model", "zzz", ["vgg16"], "see")) == "unknown model 'zzz': see"


def test_a_pattern_matches_whole_names_and_a_word_parts_of_them() -> None:
    assert matching(["resnet18", "resnext50", "vgg16"], "res*18") == ["resnet18"]
    assert matching(["resnet18", "resnext50", "vgg16"], "res") == ["resnet18", "resnext50"]


def test_what_does_not_print_is_escaped_but_for_spaces() -> None:
    kept = {c for c in map(chr, range(sys.maxunicode + 1)) if is_printable(c)}
    spaces = {c for c in kept if not c.isprintable()}
    assert spaces and all(unicodedata.category(c) == "Zs" for c in spaces)
    assert not kept & set("\n\r\x1b\x7f\u2028\u202e\ud800")
    assert printable("a\x1b[2J\u00a0b") == "a\\x1b[2J\u00a0b"


def test_what_is_wrong_is_refused_with_what_to_do() -> None:
    refuse_if(False, "x", "y")
    with pytest.raises(Exception, match=r"^the file is empty: write one line$"):
        refuse_if([1], "the file is empty", "write one line")
