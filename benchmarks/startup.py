"""Processor seconds of fresh processes, and seconds from the command to a training's first step. results/startup.json

python -m benchmarks.startup [--before SOURCE]

--before: the folder `src` of another version, measured in turn with this one. Predicting one image from the command to
the answer is cold: a new process, with the files in the operating system's cache.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness import save

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "skipway --help": ["-m", "skipway", "--help"],
    "import skipway": ["-c", "import skipway"],
    "skipway predict RUN IMAGE": ["-m", "skipway", "predict", "RUN", str(ROOT / "docs/digit.png")],
}
HEAVY = ("torch", "torchvision", "torch._dynamo", "scipy")
IMPORTED = """
import sys
from skipway import cli
sys.argv[1:] = {}
try:
    cli.main()
finally:
    print(*({} & sys.modules.keys()))
"""
ROUNDS = 9
FIRST_STEP = "first loss"  # what a training prints after its first step


def in_version(source: str) -> dict[str, str]:
    """The environment of a process that imports skipway from `source`."""
    return {**os.environ, "PYTHONPATH": source, "COLUMNS": "160"}


def processor_seconds(arguments: Sequence[str], source: str) -> float:
    """User and system time of a Python process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=in_version(source))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def seconds_to_first_step(source: str) -> float:
    """From the start of `skipway train digits` to the line that it prints after its first step."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        command = [sys.executable, "-m", "skipway", "train", "digits", "--epochs", "1", "--out", f"{folder}/run"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=in_version(source)) as training:
            assert training.stdout is not None
            while not (line := training.stdout.readline()).startswith(FIRST_STEP):
                if not line:
                    raise RuntimeError("the training ended before its first step")
            taken = time.monotonic() - began
            training.stdout.read()
    return taken


def heavy_modules(arguments: Sequence[str], source: str) -> list[str]:
    """Which of HEAVY a command imports."""
    code = IMPORTED.format(list(arguments), set(HEAVY))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=in_version(source)
    )
    return sorted(done.stdout.splitlines()[-1].split())


def summary(times: Sequence[float]) -> dict[str, Any]:
    return {"median_s": round(statistics.median(times), 4), "all_s": [round(t, 4) for t in times]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--before", default="", help="the folder src of the version to compare with")
    given = parser.parse_args()
    versions = {"now": str(ROOT / "src"), **({"before": given.before} if given.before else {})}
    measured: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        train = ["-m", "skipway", "train", "digits", "--epochs", "1", "--out", run]
        subprocess.run([sys.executable, *train], check=True, capture_output=True, env=in_version(versions["now"]))
        for name, template in COMMANDS.items():
            arguments = [run if part == "RUN" else part for part in template]
            times: dict[str, list[float]] = {version: [] for version in versions}
            for _ in range(ROUNDS):
                for version, source in versions.items():
                    times[version].append(processor_seconds(arguments, source))
            measured[name] = {version: summary(values) for version, values in times.items()}
            if template[0] == "-m":
                measured[name]["imports"] = heavy_modules(arguments[2:], versions["now"])
    first = {version: [seconds_to_first_step(source) for _ in range(3)] for version, source in versions.items()}
    save(
        "startup",
        {
            "what": f"processor seconds of a fresh process, medians of {ROUNDS} in turn",
            "commands": measured,
            "first_step": {
                "what": "seconds from `skipway train digits` to its first step, files in the operating system's cache",
                **{version: summary(values) for version, values in first.items()},
            },
        },
    )


if __name__ == "__main__":
    main()
