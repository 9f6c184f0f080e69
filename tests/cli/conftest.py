"""The command line, run in this process."""

from pathlib import Path

import pytest
from typed import Answer, Skipway

from skipway import cli


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The folder that commands are run in."""
    return tmp_path


@pytest.fixture
def skipway(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], here: Path) -> Skipway:
    """Runs a command line in `here`; gives its exit code, standard output and standard error."""
    monkeypatch.chdir(here)

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["skipway", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run
