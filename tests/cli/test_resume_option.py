"""`skipway train --resume RUN`, and what is refused beside it."""

import json
from pathlib import Path

import pytest
from typed import Skipway, refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give the data to train on, or --resume RUN"),
        (("digits", "--resume", "x"), "and not both"),
        (("--resume", "x", "--recipe", "quick"), "--recipe is as the run has it"),
        (("--resume", "x", "--out", "y"), "--out is as the run has it"),
        (("--resume", "x"), "x holds no run to resume (run.json is missing)"),
        (("digits", "--track", "tensorbord"), "did you mean 'tensorboard'"),
        (("digits", "--devices", "2"), "--devices needs --out"),
        (("digits", "--devices", "0"), "--devices must be above 0"),
        (("digits", "--checkpoint-steps", "-1"), "must not be negative"),
        (("digits", "--micro", "-1"), "--micro must not be negative"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(skipway: Skipway, words: tuple[str, ...], said: str) -> None:
    refused(skipway("train", *words), said)


def written(folder: Path) -> dict[str, int]:
    """When each file of a run was last written, in nanoseconds."""
    return {str(file): file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def test_a_finished_run_says_so_and_is_left_as_it_is_and_other_fields_are_refused(skipway: Skipway, here: Path) -> None:
    assert skipway("train", "digits", "--epochs", "1", "--device", "cpu", "--out", "run")[0] == 0
    before = written(here / "run")
    code, out, err = skipway("train", "--resume", "run")
    assert (code, err) == (0, "")
    assert out.startswith("run is finished: 1 epoch, ")
    assert out.count("\n") == 1
    assert written(here / "run") == before
    code, _, err = skipway("train", "--resume", "run", "--epochs", "3")
    assert code == 2
    assert "started with another recipe (epochs)" in err
    assert err.count("\n") == 1
    (here / "run" / "report.html").unlink()  # of a run that was stopped while it was judged
    assert skipway("train", "--resume", "run")[0] == 0
    assert (here / "run" / "report.html").is_file()
    (here / "run" / "report.html").unlink()
    values = json.loads((here / "run" / "run.json").read_text())
    (here / "run" / "run.json").write_text(json.dumps(values | {"data": "digitz"}))
    refused(skipway("train", "--resume", "run"), "digitz")
