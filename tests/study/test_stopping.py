"""A study that trains several networks at once, and is stopped: by signals, by an error, by the death of a process."""

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
from skipway.data.folder import LayoutError, LayoutFault, Survey
from skipway.data.source import Source, Split
from skipway.deploy.contract import EngineMissingError
from skipway.errors import BundleError, DataError, SkipwayError, UnknownNameError
from skipway.models.fitting import Mismatch, MismatchError
from skipway.study import STUDIES
from skipway.study.contract import SCALES
from skipway.study.runs import Machine, Run, open_cut, runs_of
from skipway.training.faults import NotFinite
from skipway.training.interrupt import Interrupted
from skipway.training.keeping import checkpoints

HOURS = replace(SCALES["tiny"], iterations=1_000_000)
COMMAND = """
from dataclasses import replace
from skipway.cli import main
from skipway.study.contract import SCALES

if __name__ == "__main__":
    SCALES["tiny"] = replace(SCALES["tiny"], iterations=1_000_000)
    main()
"""
FAULTS = (
    SkipwayError("a"),
    DataError("b"),
    BundleError("c"),
    LayoutError(Survey(Source("d", (), Split((), np.zeros(0), ())), (LayoutFault("layout", "d", "d has no images"),))),
    EngineMissingError("e"),
    NotFinite("the loss", "of images a, b"),
    UnknownNameError("network", "resnet19", ["resnet18"], "`skipway list`"),
    MismatchError("resnet18", Mismatch(("fc.weight",), (), (("conv1.weight", (1,), (2,)),))),
)


@dataclass(frozen=True)
class Started:
    """The command in a process group of its own, with four trainings of hours to do, two at a time."""

    process: subprocess.Popen[str]
    shelf: Path

    def training(self) -> list[int]:
        """The processes of the trainings that take signals between their steps; by their checkpoints' locks."""
        locks = sorted(self.shelf.glob("*/run/checkpoints/lock"))
        return [int(text) for text in (lock.read_text() for lock in locks) if text]

    def wait_for_two(self) -> None:
        deadline = time.monotonic() + 100
        while len(self.training()) < 2:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def end(self) -> tuple[int, str]:
        """Exit code and standard error of the command, which ends soon."""
        said = self.process.communicate(timeout=60)[1]
        return self.process.returncode, said

    def begun(self) -> list[Path]:
        return sorted(self.shelf.iterdir())


def runs() -> list[Run]:
    """What the command trains, in its order."""
    source = open_cut("digits", HOURS.images)
    return runs_of(list(STUDIES["degradation"].plan(HOURS)), source, HOURS, Machine().dtype())


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
    """Whether a process of `group` lives."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def gone(group: int) -> bool:
    """Whether all processes of `group` end within seconds, as those do that only looked after the others."""
    deadline = time.monotonic() + 5
    while there(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not there(group)


def test_ctrl_c_has_every_training_saved_and_none_begun(tmp_path: Path) -> None:
    with started(tmp_path) as study:
        study.wait_for_two()
        os.killpg(study.process.pid, signal.SIGINT)
        code, said = study.end()
        assert gone(study.process.pid)
        assert code == 128 + signal.SIGINT
        assert said.splitlines()[-1] == "stopped; the same command goes on where it was"
        assert "Traceback" not in said
        assert [len(checkpoints(folder / "run")) for folder in study.begun()] == [1, 1]


def test_the_death_of_a_trainings_process_is_told_in_a_line_and_the_others_are_saved(tmp_path: Path) -> None:
    with started(tmp_path) as study:
        study.wait_for_two()
        os.kill(study.training()[0], signal.SIGKILL)
        dead = next(run for run in runs() if run.key == study.begun()[0].name)
        code, said = study.end()
        assert gone(study.process.pid)
        assert code == 2
        assert said.startswith(f"skipway: {dead.title}: its process was ended by SIGKILL")
        assert "the same command goes on" in said
        assert said.count("\n") == 1
        assert [len(checkpoints(folder / "run")) for folder in study.begun()] == [0, 1]


TAKEN = """
import os, signal
from skipway.training.interrupt import PASSED_ON, noticing
with noticing(lambda: print("at once", flush=True)) as came:
    for number in {0}:
        os.kill(os.getpid(), number)
        print(came(), flush=True)
"""


@pytest.mark.parametrize(
    ("signals", "code", "said"),
    [
        ("(PASSED_ON, PASSED_ON, 15)", 0, [10, 10, 15]),
        ("(15, PASSED_ON, PASSED_ON)", 0, [15, 15, 15]),
        ("(PASSED_ON, 15, 2)", 130, [10, 15, "at once"]),
    ],
)
def test_a_signal_that_is_passed_on_is_not_the_second(signals: str, code: int, said: list[int | str]) -> None:
    done = subprocess.run([sys.executable, "-c", TAKEN.format(signals)], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[:-1] == [str(line) for line in said]
    assert done.returncode == code


@pytest.mark.parametrize(
    "fault", [*FAULTS, Interrupted(15, 7, "skipway train --resume x")], ids=lambda f: type(f).__name__
)
def test_a_fault_reads_the_same_in_another_process(fault: Exception) -> None:
    again = pickle.loads(pickle.dumps(fault))
    assert type(again) is type(fault)
    assert str(again) == str(fault)
    assert repr(vars(again)) == repr(vars(fault))


def kinds(of: type[SkipwayError]) -> set[type[SkipwayError]]:
    return {of}.union(*map(kinds, of.__subclasses__()))


def test_every_kind_of_fault_is_among_those_that_were_tried() -> None:
    for module in pkgutil.walk_packages(skipway.__path__, "skipway."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert {kind for kind in kinds(SkipwayError) if kind.__module__.startswith("skipway.")} == set(map(type, FAULTS))
