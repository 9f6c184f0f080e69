"""What the tests of the command line share: how it is run, the type of an answer, and what a refusal looks like."""

from collections.abc import Callable
from pathlib import Path

import pytest

from skipway import cli

Answer = tuple[int, str, str]  # exit code, standard output, standard error
Skipway = Callable[..., Answer]
BEFORE = ("checked ", "  ", "chosen: ", "because: ", "otherwise: ")  # lines that a training prints before it starts


def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path) -> Skipway:
    """Runs a command line in `folder`, in this process."""
    monkeypatch.chdir(folder)

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["skipway", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def refused(answer: Answer, said: str, after_check: bool = False) -> None:
    """Exit code 2 and one line on standard error that says `said`; on standard output nothing, or what is said of
    the data."""
    code, out, err = answer
    assert code == 2, err
    assert all(after_check and line.startswith(BEFORE) for line in out.splitlines())
    assert err.startswith("skipway: ")
    assert err.count("\n") == 1
    assert said in err
