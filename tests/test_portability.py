"""What differs between systems: modules and signals that Windows does not have are not needed to import and predict."""

import subprocess
import sys
from pathlib import Path

import pytest
from served import picture, write_bundle

# Modules of ours that import one of these fail, while the libraries, which have their own versions for Windows, do not.
WITHOUT = """
import builtins, os, signal, sys
absent = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"}
whole = builtins.__import__
def limited(name, globals=None, *others, **named):
    if name.split(".")[0] in absent and (globals or {}).get("__name__", "").startswith("skipway"):
        raise ImportError(f"no module {name} on this system")
    return whole(name, globals, *others, **named)
builtins.__import__ = limited
import torch, torchvision  # before signals are removed, which their versions for Windows do without
for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGKILL"):
    delattr(signal, name)
for name in ("O_NOFOLLOW", "O_NONBLOCK", "sched_getaffinity"):
    delattr(os, name)
"""


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT + code], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("windows")
    write_bundle(place / "run")
    (place / "image.jpg").write_bytes(picture())
    return place


def test_the_blocker_blocks(tmp_path: Path) -> None:
    code = "exec(compile('import fcntl', 'x', 'exec'), {'__name__': 'skipway.x'})"
    assert "no module fcntl on this system" in run(code, tmp_path).stderr


def test_predicting_needs_no_module_that_windows_does_not_have(folder: Path) -> None:
    code = """
import skipway
for name in skipway.__all__:
    getattr(skipway, name)
answer = skipway.predict("run", "image.jpg", hardware=skipway.decide("cpu"))
print(answer.label)
import skipway.download, skipway.cli, skipway.training.loop
sys.argv = ["skipway", "predict", "run", "image.jpg", "--device", "cpu"]
skipway.cli.main()
"""
    done = run(code, folder)
    assert done.returncode == 0, done.stderr
    assert "Apfel" in done.stdout or "Birne" in done.stdout or "Rübe" in done.stdout or "赤い魚" in done.stdout
