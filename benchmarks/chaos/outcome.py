"""How a case of the chaos run ended."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """what: "equal weights", "one line", "answers" or "skipped"; line: what was printed, or why it was skipped."""

    what: str
    seconds: float
    line: str = ""


class Failure(Exception):  # noqa: N818  # of the subject of a measurement, not of this program
    """A case that did not end as it must."""


def require(holds: bool, otherwise: str) -> None:
    """Raises Failure."""
    if not holds:
        raise Failure(otherwise)


def last_line(said: Path) -> str:
    """The last line that was said, of which the last part is taken where a line was rewritten."""
    lines = said.read_text(errors="replace").strip().splitlines() if said.exists() else []
    return lines[-1].strip() if lines else ""
