"""Stopping a study with parallel runs: signals, errors and the death of a process."""

import importlib
import os
import pickle
import pkgutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import skipway
from skipway.data.dataset import Dataset, Split
from skipway.data.formats.folder import LayoutError, LayoutFault, Survey
from skipway.deploy.engines.base import EngineMissingError
from skipway.deploy.export.sessions import RuntimeMissingError
from skipway.errors import BundleError, DataError, SkipwayError, UnknownNameError
from skipway.models.pretrained.state_dict_check import Mismatch, MismatchError
from skipway.study import STUDIES
from skipway.study.engine.runs import Machine, StudyRun, open_cut, runs_of
from skipway.study.engine.scale import SCALES
from skipway.training.checkpoint_manager import checkpoints
from skipway.training.errors import NonFiniteError
from skipway.training.signals import Interrupted

HOURS = replace(SCALES["tiny"], iterations=1_000_000)
COMMAND = """
from dataclasses import replace
from skipway.cli import main
from skipway.study.engine.scale import SCALES

if __name__ == "__main__":
    SCALES["tiny"] = replace(SCALES["tiny"], iterations=1_000_000)
    main()
"""
FAULTS = (
    SkipwayError("a"),
    DataError("b"),
    BundleError("c"),
    LayoutError(Survey(Dataset("d", (), Split((), np.zeros(0), ())), (LayoutFault("layout", "d", "d has no images"),))),
    EngineMissingError("e"),
    RuntimeMissingError("r"),
    NonFiniteError("the loss", "of images a, b"),
    UnknownNameError("network", "resnet19", ["resnet18"], "`skipway list`"),
    MismatchError("resnet18", Mismatch(("fc.weight",), (), (("conv1.weight", (1,), (2,)),))),
)


@dataclass(frozen=True)
class Started:
    """The command in a separate process group, with four runs that take hours, two at a time."""

    process: subprocess.Popen[str]
    shelf: Path

    def training(self) -> list[int]:
        """The ids of the processes that train and handle signals, from the locks of their checkpoints."""
        locks = sorted(self.shelf.glob("*/run/checkpoints/lock"))
        return [int(text) for text in (lock.read_text() for lock in locks) if text]

    def wait_for_two(self) -> None:
        deadline = time.monotonic() + 100
        while len(self.training()) < 2:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        """Wait for the command; its exit code and standard error."""
        stderr = self.process.communicate(timeout=60)[1]
        return self.process.returncode, stderr

    def run_folders(self) -> list[Path]:
        return sorted(self.shelf.iterdir())


def runs() -> list[StudyRun]:
    """The command's runs, in order."""
    dataset = open_cut("digits", HOURS.images)
    return runs_of(list(STUDIES["degradation"].plan(HOURS)), dataset, HOURS, Machine().dtype())


@contextmanager
def started(folder: Path) -> Iterator[Started]:
    (folder / "command.py").write_text(COMMAND)
    command = [sys.executable, "command.py", "study", "degradation", "--scale", "tiny", "--jobs", "2", "--out", "out"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield Started(process, folder / "out" / "runs")
        finally:
            if there(process.pid):
                os.killpg(process.pid, signal.SIGKILL)


def there(group: int) -> bool:
    """Whether a process of `group` is alive."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def gone(group: int) -> bool:
    """Whether all processes of `group` end within seconds, including helpers that wait for the others."""
    deadline = time.monotonic() + 5
    while there(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not there(group)


def test_ctrl_c_saves_every_run_and_starts_none(tmp_path: Path) -> None:
    with started(tmp_path) as study:
        study.wait_for_two()
        os.killpg(study.process.pid, signal.SIGINT)
        code, stderr = study.end()
        assert gone(study.process.pid)
        assert code == 128 + signal.SIGINT
        assert stderr.splitlines()[-1] == "stopped; repeat the same command to continue"
        assert "Traceback" not in stderr
        assert [len(checkpoints(folder / "run")) for folder in study.run_folders()] == [1, 1]


def test_the_death_of_a_worker_is_reported_in_one_line_and_the_others_are_saved(tmp_path: Path) -> None:
    with started(tmp_path) as study:
        study.wait_for_two()
        os.kill(study.training()[0], signal.SIGKILL)
        dead = next(run for run in runs() if run.key == study.run_folders()[0].name)
        code, stderr = study.end()
        assert gone(study.process.pid)
        assert code == 2
        assert stderr.startswith(f"skipway: {dead.title}: its process was killed by SIGKILL")
        assert "repeat the same command to continue" in stderr
        assert stderr.count("\n") == 1
        assert [len(checkpoints(folder / "run")) for folder in study.run_folders()] == [0, 1]


TAKEN = """
import os, signal
from skipway.training.signals import PASSED_ON, handle_signals
with handle_signals(lambda: print("at once", flush=True)) as came:
    for number in {0}:
        os.kill(os.getpid(), number)
        print(came(), flush=True)
"""


@pytest.mark.parametrize(
    ("signals", "code", "expected"),
    [
        ("(PASSED_ON, PASSED_ON, 15)", 0, [10, 10, 15]),
        ("(15, PASSED_ON, PASSED_ON)", 0, [15, 15, 15]),
        ("(PASSED_ON, 15, 2)", 130, [10, 15, "at once"]),
    ],
)
def test_a_signal_that_is_passed_on_does_not_count_as_a_second_one(
    signals: str, code: int, expected: list[int | str]
) -> None:
    done = subprocess.run([sys.executable, "-c", TAKEN.format(signals)], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[:-1] == [str(line) for line in expected]
    assert done.returncode == code


@pytest.mark.parametrize(
    "fault", [*FAULTS, Interrupted(15, 7, "skipway train --resume x")], ids=lambda f: type(f).__name__
)
def test_errors_can_be_sent_to_another_process(fault: Exception) -> None:
    again = pickle.loads(pickle.dumps(fault))
    assert type(again) is type(fault)
    assert str(again) == str(fault)
    assert repr(vars(again)) == repr(vars(fault))


def kinds(of: type[SkipwayError]) -> set[type[SkipwayError]]:
    return {of}.union(*map(kinds, of.__subclasses__()))


def test_every_error_class_is_tested() -> None:
    for module in pkgutil.walk_packages(skipway.__path__, "skipway."):
        if not module.name.endswith(("__main__", "._batch_norm")):  # the latter is a library without a module
            importlib.import_module(module.name)
    assert {kind for kind in kinds(SkipwayError) if kind.__module__.startswith("skipway.")} == set(map(type, FAULTS))
