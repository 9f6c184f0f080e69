"""What goes wrong because of something a user did or gave: one line that says what, where, and what to do.

The command line prints these without a traceback and exits with 2. Anything else that escapes is a bug of ours.
"""

import copyreg
import difflib
import fnmatch
from collections.abc import Iterable
from typing import Any


class SkipwayError(Exception):
    """A fault in the input, the options or the surroundings of a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as it is, for another process: an exception would be made anew, of its words alone, by `__init__`,
        which in some kinds takes other things."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class DataError(SkipwayError):
    """Images or labels that cannot be used; names the file or folder."""


class BundleError(SkipwayError):
    """A trained network on disk that is missing, incomplete or changed."""


class UnknownNameError(SkipwayError):
    """A name that nothing answers to; offers the nearest that something does."""

    def __init__(self, kind: str, name: str, known: Iterable[str], see: str) -> None:
        near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'? " if near else ""
        super().__init__(f"unknown {kind} '{name}': {hint}{see}")


def matching(names: Iterable[str], pattern: str) -> list[str]:
    """The names that match a shell `pattern`, or contain it, in their order."""
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    return [name for name in names if fnmatch.fnmatch(name, wanted)]


def first_line(fault: BaseException) -> str:
    """What another library's fault says, cut to a line; its kind where it says nothing."""
    return (str(fault).strip() or type(fault).__name__).splitlines()[0]
