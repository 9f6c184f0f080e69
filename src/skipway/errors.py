"""Exceptions for errors that the user can fix: one line that says what, where, and what to do.

The command line prints these without a traceback and exits with code 2. Any other exception is a bug in skipway.
"""

import copyreg
import difflib
import fnmatch
import unicodedata
from collections.abc import Iterable
from typing import Any


class SkipwayError(Exception):
    """An error in the input, the options or the environment of a command."""

    def __str__(self) -> str:
        """The message on one line, whatever names of files and classes are in it."""
        return printable(super().__str__())

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the object as it is, for another process: by default an exception is recreated by calling `__init__`
        with its message alone, and some subclasses take other arguments."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class DataError(SkipwayError):
    """Images or labels that cannot be used; the message names the file or folder."""


class BundleError(SkipwayError):
    """A trained network on disk that is missing, incomplete or changed."""


class UnknownNameError(SkipwayError):
    """An unknown name; the message suggests the closest known one."""

    def __init__(self, kind: str, name: str, known: Iterable[str], see: str) -> None:
        close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
        hint = f"did you mean '{close[0]}'? " if close else ""
        super().__init__(f"unknown {kind} '{name}': {hint}{see}")


def matching(names: Iterable[str], pattern: str) -> list[str]:
    """The names that match a shell `pattern` or contain it, in the order given."""
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    return [name for name in names if fnmatch.fnmatch(name, wanted)]


def first_line(error: BaseException) -> str:
    """The first line of another library's error message; the type's name if there is no message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def printable(text: str) -> str:
    """`text` on one line for any terminal: line breaks, control characters and invalid bytes escaped."""
    if text.isprintable():
        return text
    return "".join(c if is_printable(c) else c.encode("unicode_escape").decode() for c in text)


def is_printable(character: str) -> bool:
    """Whether a character can be shown as it is, which includes spaces that do not break."""
    return character.isprintable() or unicodedata.category(character) == "Zs"


def refuse_if(wrong: object, what: str, remedy: str) -> None:
    """Raises SkipwayError if `wrong`."""
    if wrong:
        raise SkipwayError(f"{what}: {remedy}")
