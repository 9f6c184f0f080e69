"""pytest in forks of this process, which imports the libraries once: a line of JSON in, a line out.

In: {"tests": [paths], "seconds": at most}. Out: {"code": of pytest or -1 for too long, "failed": first failed test,
"seconds"}, processor seconds both. The working directory is the tree of the tests. Only libraries are imported here,
nothing of ours, and nothing whose assertions pytest rewrites.
"""

import contextlib
import json
import os
import signal
import sys
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

WAITING = 6  # seconds by the clock for each processor second that may be used


class FirstFailure:
    """Writes the name of the first test that fails, or that cannot be collected, to a pipe."""

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe

    def tell(self, report: Any) -> None:
        if report.failed and self.pipe:
            os.write(self.pipe, report.nodeid.encode())
            self.pipe = 0

    pytest_runtest_logreport = tell
    pytest_collectreport = tell


def child(tests: list[str], pipe: int) -> None:
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    options = ["-x", "-p", "no:cacheprovider", "--timeout", "120"]
    code = 3
    try:
        code = int(pytest.main([*options, *tests], plugins=[FirstFailure(pipe)]))
    finally:
        os._exit(code)


def processor_seconds(process: int) -> float:
    """Of one process, without those that it started."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(tests: list[str], seconds: float) -> dict[str, Any]:
    reading, writing = os.pipe()
    start, spent = time.monotonic(), 0.0
    process = os.fork()
    if not process:
        os.close(reading)
        child(tests, writing)
    os.close(writing)
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
    failed = os.read(reading, 1 << 16).decode()
    os.close(reading)
    return {"code": code, "failed": failed, "seconds": round(spent, 1)}


if __name__ == "__main__":
    for line in sys.stdin:
        wanted = json.loads(line)
        print(json.dumps(run(wanted["tests"], wanted["seconds"])), flush=True)
