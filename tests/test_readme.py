"""What the README tells a newcomer to type, typed."""

import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typed import command_line

from skipway import data
from skipway.data.dataset import Dataset
from skipway.training import autoconfig
from skipway.training.recipes import FINETUNE, QUICK

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


def runnable() -> list[tuple[str, str]]:
    """The blocks that use the package; the first block, which sets it up by make, is what runs this test."""
    return [(language, text) for language, text in BLOCKS if "make " not in text]


def write_photographs(folder: Path) -> None:
    """`photos/`, 10 pictures each of two kinds that colours tell apart, and `new.jpg`."""
    rng = np.random.default_rng(0)
    for kind, base in (("cats", (180, 120, 60)), ("dogs", (60, 110, 170))):
        (folder / "photos" / kind).mkdir(parents=True)
        for i in range(10):
            pixels = np.clip(rng.normal(base, 40, (90, 120, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / kind / f"{i}.jpg")
    shutil.copy(folder / "photos" / "cats" / "0.jpg", folder / "new.jpg")


def fewer_digits() -> Dataset:
    """150 digits to train on."""
    digits = data.open_digits()
    train = digits.train.take(np.arange(150))
    return Dataset(digits.name, digits.classes, train, test=digits.test and digits.test.take(np.arange(60)))


def test_the_readme_has_commands_and_python() -> None:
    assert {language for language, _ in runnable()} == {"sh", "python"}


def test_a_shell_finds_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    said = subprocess.run(["sh", "-e", "-c", "skipway --help"], capture_output=True, text=True, check=True).stdout
    verbs = {
        shlex.split(line)[1] for _, text in runnable() for line in text.splitlines() if line.startswith("skipway ")
    }
    assert {verb for verb in verbs if f" {verb} " not in said} == set()


@pytest.mark.timeout(600)
def test_the_readme_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its commands by the function that the installed command calls, on fewer digits and for fewer epochs."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=lambda *_: ["studies"])
    write_photographs(tmp_path)
    monkeypatch.setenv("SKIPWAY_OFFLINE", "1")
    monkeypatch.setitem(data.SOURCES, "digits", fewer_digits)
    for recipe in (QUICK, FINETUNE):
        monkeypatch.setattr(autoconfig, recipe.name.upper(), replace(recipe, epochs=1))
    skipway = command_line(monkeypatch, capsys, tmp_path)
    for language, text in runnable():
        if language == "python":
            exec(text, {"__name__": "__main__"})
            continue
        for line in text.splitlines():
            command, *arguments = shlex.split(line, comments=True) or ["skipway", "--help"]
            code, out, err = skipway(*arguments)
            assert (command, code) == ("skipway", 0), f"{line}\n{out}\n{err}"
