"""Names that would format or control the terminal, numbers that are none, and output that cannot be written."""

import csv
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from served import CLASSES, write_bundle

from skipway import bundle, cli
from skipway.deploy.predict import writer
from skipway.errors import printable
from skipway.json_text import is_finite
from skipway.reporting.console import LastingOutput, LiteralConsole
from skipway.tasks.classify.prediction import ClassPrediction
from skipway.tasks.classify.present import ClassPresenter
from skipway.training.checkpoint_manager import checkpoints

NAMES = ["[/red]0", "\x1b[31mred", "\x9b2J", "[bold]b", "a\u202eb", ":smile:", "one\ntwo", "\x07bell"]
FULL = Path("/dev/full")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with such names of classes."""
    folder = write_bundle(tmp_path_factory.mktemp("runs") / "net")
    names = [f"{name}{i}" for i, name in enumerate((NAMES * 4)[: len(CLASSES)])]
    bundle.seal(folder, replace(bundle.read_card(folder), classes=names))
    return folder


def picture(file: Path) -> Path:
    file.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(file, "PNG")
    return file


def is_safe(text: str) -> bool:
    return all(printable(line) == line for line in text.split("\n"))


def test_names_of_files_and_classes_neither_format_nor_control_the_terminal(skipway, net: Path, here: Path) -> None:
    picture(here / "in" / "[/b]\x1b[2J.png")
    (here / "in" / "\x1b]0;title\x07.png").write_bytes(b"no image")
    code, out, err = skipway("predict", str(net), "in")
    assert code == 1
    assert "[/b]\\x1b[2J.png" in out
    assert "\\x1b]0;title\\x07.png" in err
    assert is_safe(out) and is_safe(err)


def test_a_training_shows_the_names_of_its_data_as_they_are(skipway, here: Path) -> None:
    for name in ("[/red]0", "\x1b[31mred"):
        for i in range(4):
            picture(here / "[/blue]\x1b[2Jdata" / name / f"{i}.png")
    options = ("--epochs", "1", "--out", "run", "--from-scratch", "--model", "resnet20", "--size", "16")
    code, out, err = skipway("train", "./[/blue]\x1b[2Jdata", *options)
    assert code == 0, err
    assert "[/blue]\\x1b[2Jdata" in out
    assert is_safe(out) and is_safe(err)


def test_a_message_for_the_user_has_no_control_characters(skipway, here: Path) -> None:
    code, _, err = skipway("predict", "no\x1b[2Jsuch", "x.png")
    assert code == 2
    assert "no\\x1b[2Jsuch" in err
    assert err.count("\n") == 1 and is_safe(err)


@pytest.mark.parametrize("name", NAMES)
def test_the_console_shows_a_name_in_print_and_table_as_characters(name: str) -> None:
    from rich.table import Table

    out = io.StringIO()
    console = LiteralConsole(file=out, force_terminal=True, color_system="truecolor", width=60)
    console.print(name)
    table = Table(name, box=None, show_header=False)
    table.add_row(name)
    console.print(table)
    lines = "\\n".join(name.split("\n"))
    plain = [printable(part) for part in name.split("\n")] * 2
    assert [line.strip() for line in out.getvalue().splitlines()] == plain, lines


def test_spaces_that_do_not_break_are_no_control_characters() -> None:
    assert printable("95\u00a0% 9\u202f000") == "95\u00a0% 9\u202f000"
    assert printable("a\u2028b\udcff") == "a\\u2028b\\udcff"


def test_json_of_a_name_with_an_invalid_byte_is_read_back(skipway, net: Path, here: Path) -> None:
    name = os.fsdecode(b"in/\xff.png")
    picture(here / name)
    code, out, _ = skipway("predict", str(net), "in", "--json")
    assert code == 0
    out.encode()
    assert json.loads(out)["image"] == name


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of finite weights whose scores are not finite."""
    folder = write_bundle(tmp_path_factory.mktemp("runs") / "net")
    weights = bundle.read_weights(folder)
    weights["fc.weight"] = torch.full_like(weights["fc.weight"], 3e38)
    weights["fc.bias"] = torch.full_like(weights["fc.bias"], 3e38)
    for name in weights:
        if name.endswith("running_mean"):
            weights[name] = torch.full_like(weights[name], -1e30)
    bundle.write(folder, weights, bundle.read_card(folder))
    return folder


def test_predictions_that_are_no_numbers_are_errors_and_no_json(skipway, overflowing: Path, here: Path) -> None:
    picture(here / "in" / "a.png")
    code, out, err = skipway("predict", str(overflowing), "in", "--json")
    assert code == 1
    answer = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert answer["classes"] == []
    assert "NaN or infinite" in answer["error"]
    assert "a.png" in err
    assert skipway("predict", str(overflowing), "in", "--csv", "out.csv")[0] == 1
    with Path("out.csv").open(newline="") as file:
        header, row = csv.reader(file)
    assert row == [header and "in/a.png", *[""] * (len(header) - 1)]


def test_a_number_that_is_none_is_found_wherever_it_is() -> None:
    nan = float("nan")
    assert is_finite({"a": [1, {"b": (2.0, "nan", None)}]})
    for value in (nan, [nan], {"a": [{"b": -float("inf")}]}, [[1.0], (nan,)]):
        assert not is_finite(value)
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out)
        count = writer.print_json_lines([ClassPrediction("a", classes=(("x", nan),))], ClassPresenter())
    assert count == writer.Count(1, 1)


# ---------------------------------------------------------------------------------------------------------------------
# Output that cannot be written


def started(arguments: list[str], **where: object) -> "subprocess.Popen[str]":
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "skipway", *arguments]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, **where)  # type: ignore[call-overload]


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
def test_standard_output_on_a_full_disk_is_one_line() -> None:
    with FULL.open("w") as full:
        process = started(["--help"], stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err == "skipway: output cannot be written (No space left on device): free some space, or send it elsewhere\n"


def test_memory_that_is_used_up_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def hungry(**_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(cli, "app", hungry)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("skipway: memory is used up: ")
    assert said.count("\n") == 1


def test_a_pipe_that_is_closed_ends_the_output_without_a_word() -> None:
    process = started(["--help"], stdout=subprocess.PIPE)
    assert process.stdout and process.stderr
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), err) == (1, "")


def test_a_run_goes_on_where_nothing_can_be_printed() -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

        def flush(self) -> None:
            raise OSError(5, "Input/output error")

    output = LastingOutput(Full())
    console = LiteralConsole(file=output)  # type: ignore[arg-type]
    console.print("a line")
    assert not console.is_terminal


def test_a_closed_terminal_ends_a_training_whose_state_is_saved(tmp_path: Path) -> None:
    """As the system ends it: SIGHUP to all processes of the terminal, where nothing can be written any more."""
    ours, theirs = pty.openpty()
    run = tmp_path / "run"
    arguments = ["train", "digits", "--epochs", "5000", "--out", str(run), "--device", "cpu", "--offline"]
    with (tmp_path / "errors").open("w") as errors:
        command = [sys.executable, "-c", TERMINAL, *arguments]
        process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=errors, start_new_session=True)
        try:
            os.close(theirs)
            deadline = time.monotonic() + 60
            said = b""
            while b"first loss" not in said and process.poll() is None and time.monotonic() < deadline:
                said += os.read(ours, 1 << 16)
            os.close(ours)
            assert process.wait(60) == 128 + signal.SIGHUP, (tmp_path / "errors").read_text()
        finally:
            process.kill()
    assert checkpoints(run), "the state was not saved"
    errors_lines = (tmp_path / "errors").read_text().splitlines()
    assert errors_lines[-1].startswith("stopped by SIGHUP after step ")
    assert not any("Traceback" in line for line in errors_lines)


TERMINAL = """
import fcntl, signal, termios
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests themselves may run under nohup
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from skipway.cli import main
main()
"""
