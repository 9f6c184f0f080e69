"""pytest in forks of this process, which imports the libraries once: a line of JSON in, a line out.

In: {"tests": [paths], "without": [tests], "seconds": at most}. Out: {"code": of pytest or -1 for too long, "failed":
the first failed test, "begun": otherwise the last that began, "seconds"}, processor seconds both. The working directory
is the tree of the tests. Only libraries are imported here, and none whose assertions pytest rewrites.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot  # noqa: F401
import pyarrow.parquet  # noqa: F401
import pytest
import scipy.optimize  # noqa: F401
import sklearn.metrics  # noqa: F401
import torch  # noqa: F401
import torchmetrics.classification  # noqa: F401
import torchvision  # noqa: F401
import typer  # noqa: F401

WAITING = 15  # seconds by the clock for each processor second that may be used


class Told:
    """Writes into a file which test has begun last, and which is the first that fails or cannot be collected."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.file.write_text(f"begun {nodeid}")

    def tell(self, report: Any) -> None:
        if report.failed and not self.file.read_text().startswith("failed"):
            self.file.write_text(f"failed {report.nodeid}")

    pytest_runtest_logreport = tell
    pytest_collectreport = tell


def child(tests: list[str], without: list[str], file: Path) -> None:
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    options = ["-x", "-p", "no:cacheprovider", "--timeout", "120", *(f"--deselect={test}" for test in without)]
    code = 3
    try:
        code = int(pytest.main([*options, *tests], plugins=[Told(file)]))
    finally:
        os._exit(code)


def processor_seconds(process: int) -> float:
    """Of one process, without those that it started."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(tests: list[str], without: list[str], seconds: float) -> dict[str, Any]:
    with tempfile.NamedTemporaryFile("r") as told:
        start, spent = time.monotonic(), 0.0
        process = os.fork()
        if not process:
            child(tests, without, Path(told.name))
        code = -1
        while spent < seconds and time.monotonic() - start < WAITING * seconds:
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                break
            spent = processor_seconds(process)
            time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):  # what the tests left behind ends as well
            os.killpg(process, signal.SIGKILL)
        if code == -1:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process, 0)
        what, _, test = told.read().partition(" ")
    return {"code": code, "seconds": round(spent, 1)} | {key: test * (what == key) for key in ("begun", "failed")}


if __name__ == "__main__":
    for line in sys.stdin:
        wanted = json.loads(line)
        print(json.dumps(run(wanted["tests"], wanted["without"], wanted["seconds"])), flush=True)
