"""What the arguments of the verbs may be: data sets, hardware, and where progress is printed."""

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from skipway.data.dataset import Dataset
from skipway.errors import SkipwayError
from skipway.hardware import Hardware, decide
from skipway.reporting.console import LiteralConsole

Folder = str | os.PathLike[str]
QUIET = Console(quiet=True)


def as_data(data: Folder | Dataset) -> str | Dataset:
    """What names a data set, as text, or a Dataset as it is. Raises SkipwayError for anything else."""
    if isinstance(data, Dataset):
        return data
    if not isinstance(data, str | os.PathLike):
        kind = type(data).__name__
        raise SkipwayError(f"data must be a name, a path or what skipway.open_dataset returns, not of type {kind}")
    return os.fspath(data)


def as_paths(given: Folder | Sequence[Folder]) -> list[str]:
    """One path or several, as text."""
    return [os.fspath(one) for one in ([given] if isinstance(given, str | os.PathLike) else given)]


def default_console() -> Console:
    """Where a person waits, at a prompt or in a notebook: the screen; in programs nowhere. In a notebook as plain
    lines: Rich makes an output of its own of each, and its bars move the cursor of a terminal."""
    if "ipykernel" in sys.modules:
        return LiteralConsole(highlight=False, force_jupyter=False, force_terminal=False)
    return LiteralConsole(highlight=False) if hasattr(sys, "ps1") else QUIET


def resolve_hardware(hardware: Hardware | None) -> Hardware:
    """`hardware`, or else the best of this machine. Raises SkipwayError for anything else."""
    if not isinstance(hardware, Hardware | None):
        raise SkipwayError("hardware must be what skipway.decide returns, as skipway.decide('cpu')")
    return hardware or decide()


def ensure_folder(folder: Path) -> Path:
    """`folder`, which is there afterwards. Raises SkipwayError where it cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as fault:
        raise SkipwayError(f"{folder} cannot be written ({fault.strerror}): choose another --out") from None
    return folder
