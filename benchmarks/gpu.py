"""What a GPU makes of the package, in at most eight minutes. results/gpu.json

    python -m benchmarks.gpu [--cifar DATA] [--budget 480] [--only CASE ...] [--out FILE] [--dry]

Training of resnet50 beside torchvision's and timm's, small networks with whole steps as CUDA graphs beside eager
steps, `fast-cifar`, inference by every engine, short trainings of the other tasks, memory, and the tests marked cuda.
Each case is a process of its own, the most valuable first; the file is written when one ends, and those that no longer
fit the budget are skipped. Nothing is downloaded. `--dry` takes tiny sizes and runs anywhere, CUDA's parts left out by
name. DATA is a folder with train.parquet and test.parquet of CIFAR-10.

The package must be installed, without network: pip install --no-deps --no-build-isolation --no-index -e .
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import gpu_inference, gpu_training
from benchmarks.gpu_timing import Bench, SkippedError
from benchmarks.harness import RESULTS, surroundings
from benchmarks.provenance import hashes

BUDGET = 480.0  # seconds
ROOT = RESULTS.parent


@dataclass(frozen=True)
class Case:
    """`seconds`: how long it takes on an H100, about; it is skipped when less is left."""

    run: Callable[[Bench], None]
    seconds: float


def cuda_tests(bench: Bench) -> None:
    """The tests that need a GPU, counted."""
    bench.require_cuda("pytest -m cuda")
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [sys.executable, "-m", "pytest", "tests/test_cuda.py", "-m", "cuda", f"--junitxml={report}"]
        done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
        if not report.is_file():
            raise RuntimeError(done.stdout[-300:] + done.stderr[-300:])
        suite = ElementTree.parse(report).getroot().find("testsuite")
    assert suite is not None
    counts = {key: int(suite.get(key, "0")) for key in ("tests", "failures", "errors", "skipped")}
    bench.emit("tests marked cuda", "pytest", **counts, output=done.stdout[-2000:] if done.returncode else "")


CASES = {
    "resnet20": Case(gpu_training.small_network("resnet20"), 40),
    "tests": Case(cuda_tests, 60),
    "resnet50": Case(gpu_training.resnet50, 60),
    "resnet56": Case(gpu_training.small_network("resnet56"), 40),
    "fast-cifar": Case(gpu_training.fast_cifar, 60),
    "inference": Case(gpu_inference.resnet50, 100),
    "resnet50-compiled": Case(gpu_training.resnet50_compiled, 140),
    "detection": Case(gpu_training.detection, 40),
    "segmentation": Case(gpu_training.segmentation, 30),
    "generation": Case(gpu_training.generation, 60),
    "resnet20-compiled": Case(gpu_training.small_network("resnet20", compiled=True), 70),
}


def run_case(name: str, given: argparse.Namespace, left: float) -> dict[str, Any]:
    """The rows of a case, run in a process of its own for at most `left` seconds; if it was cut, those that it had."""
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder, "rows.jsonl")
        rows.touch()
        command = [sys.executable, "-m", "benchmarks.gpu", "--case", name, str(rows), *(["--dry"] if given.dry else [])]
        command += ["--cifar", str(given.cifar)] if given.cifar else []
        ended = ""
        try:
            code = subprocess.run(command, cwd=ROOT, timeout=left, check=False).returncode
            ended = f"ended with exit code {code}" if code else ""
        except subprocess.TimeoutExpired:
            ended = f"cut after {left:.0f} s"
        found = [json.loads(line) for line in rows.read_text().splitlines()]
    return {"seconds": round(time.perf_counter() - start, 1), "rows": found} | ({"ended": ended} if ended else {})


def one_case(name: str, bench: Bench) -> None:
    """In a case's own process."""
    try:
        CASES[name].run(bench)
    except SkippedError as reason:
        bench.emit(name, "all", skipped=str(reason))


def print_table(cases: dict[str, dict[str, Any]]) -> None:
    table = Table("case", "what", "side", "images/s", "ms", "MiB", "remark")
    for name, case in cases.items():
        for row in case.get("rows", []):
            hidden = ("what", "side", "images_per_s", "ms", "peak_mib", "turns_s", "output")
            remark = ", ".join(f"{key} {value}" for key, value in row.items() if key not in hidden)
            figures = [str(row.get(key) or "") for key in ("images_per_s", "ms", "peak_mib")]
            table.add_row(name, row["what"], row["side"], *figures, remark)
        left_out = case.get("skipped") or case.get("ended")
        if left_out:
            table.add_row(name, "", "", "", "", "", left_out)
    Console(width=170).print(table)


def write(out: Path, given: argparse.Namespace, cases: dict[str, dict[str, Any]], where: dict[str, Any]) -> None:
    what = "images a second, medians of alternating turns; MiB: the largest allocation of a side, weights included"
    measured = {
        "name": "gpu",
        "what": what,
        "budget_s": given.budget,
        "dry": given.dry,
        "cases": cases,
        **where,
        "code": hashes("gpu"),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(measured, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cifar", type=Path)
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--out", type=Path, help="default: results/gpu.json; of a dry run build/gpu-dry.json")
    parser.add_argument("--dry", action="store_true")
    parser.add_argument("--case", nargs=2, metavar=("CASE", "ROWS"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    given, start = arguments(), time.perf_counter()
    if given.case:
        one_case(given.case[0], Bench(given.dry, given.cifar, Path(given.case[1])))
        return
    out = given.out or (ROOT / "build" / "gpu-dry.json" if given.dry else RESULTS / "gpu.json")
    cases: dict[str, dict[str, Any]] = {}
    where = surroundings()
    for name, case in CASES.items():
        if name not in given.only:
            continue
        left = given.budget - (time.perf_counter() - start)
        if left < (5 if given.dry else case.seconds):
            cases[name] = {"skipped": f"{left:.0f} s were left of {given.budget:.0f}, and it takes {case.seconds:.0f}"}
        else:
            print(f"{name}: {left:.0f} s left", flush=True)
            cases[name] = run_case(name, given, left)
        write(out, given, cases, where)
    print_table(cases)
    print(f"{out}: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
