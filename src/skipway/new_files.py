"""Files that a command makes: never over another one, and with their name only when they are complete."""

from pathlib import Path

from skipway.errors import SkipwayError

UNFINISHED = ".unfinished"


def require_new(file: Path, option: str) -> None:
    """Raises SkipwayError when `file` is there already, or has no folder to be in."""
    if file.exists():
        raise SkipwayError(f"{file} exists: choose another {option}")
    if not file.parent.is_dir():
        raise SkipwayError(f"{file} cannot be written: there is no folder {file.parent}")


def require_free(file: Path, option: str) -> None:
    """As `require_new`, for a file that is written row by row. Raises SkipwayError too for what a broken run left."""
    require_new(file, option)
    if (left := unfinished(file)).exists():
        raise SkipwayError(f"{left} is what an earlier run left: remove it, or choose another {option}")


def unfinished(file: Path) -> Path:
    """Where the rows of `file` stand until the last of them is written."""
    return file.with_name(file.name + UNFINISHED)


def write_new(file: Path, content: bytes) -> None:
    """Raises SkipwayError when `file` cannot be made."""
    try:
        with file.open("xb") as stream:
            stream.write(content)
    except OSError as fault:
        raise SkipwayError(f"{file} cannot be written: {fault.strerror}") from None
