"""The command line, run in this process."""

from pathlib import Path

import pytest
from typed import Skipway, command_line


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The folder that commands are run in."""
    return tmp_path


@pytest.fixture
def skipway(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], here: Path) -> Skipway:
    """Runs a command line in `here`; gives its exit code, standard output and standard error."""
    return command_line(monkeypatch, capsys, here)
