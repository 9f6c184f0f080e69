"""What the README tells a newcomer to type, typed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

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


def test_the_readme_has_commands_and_python() -> None:
    assert {language for language, _ in runnable()} == {"sh", "python"}


@pytest.mark.timeout(600)
def test_the_readme_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=lambda *_: ["studies"])
    write_photographs(tmp_path)
    monkeypatch.setenv("SKIPWAY_OFFLINE", "1")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # other tests run beside this one, and threads that wait take time
    for language, text in runnable():
        command = ["sh", "-e", "-c", text] if language == "sh" else [sys.executable, "-c", text]
        finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, f"{text}\n{finished.stdout}\n{finished.stderr}"
