"""What the cases of `benchmarks.gpu` share: sides that take turns, memory, and rows of results."""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness import alternate
from skipway import hardware
from skipway.data.dataset import Dataset, Split
from skipway.data.targets import Targets
from skipway.errors import first_line
from skipway.hardware import Hardware

ROUNDS, TURN = 5, 0.6  # turns of each side, and about how many seconds a turn takes
WARM = 5  # steps before the first turn: more than a recording waits for
Step = Callable[[], None]


class SkippedError(Exception):
    """A side or a case that cannot run here, and why."""


@dataclass(frozen=True)
class Bench:
    """Where a case runs and what it writes to. `dry`: tiny sizes and a single step a turn, on any device; cifar: folder
    of a copy of CIFAR-10, None where there is none; rows: a file to which a line is added for each result."""

    dry: bool
    cifar: Path | None
    rows: Path

    @property
    def cuda(self) -> bool:
        return torch.cuda.is_available()

    def settings(self, compile_: bool = False) -> Hardware:
        """bfloat16 and channels-last on the device. Raises SkippedError for compilation that cannot be done."""
        if compile_:
            self.require_compiler()
        return hardware.decide(
            precision="bfloat16", channels_last="on", compile_="on" if compile_ else "off", workers=0
        )

    def require_compiler(self) -> None:
        """Raises SkippedError where torch.compile lacks something, or takes minutes as on a CPU."""
        import importlib.util
        import shutil

        self.require_cuda("compiling")
        if importlib.util.find_spec("triton") is None or not (shutil.which("cc") or shutil.which("gcc")):
            raise SkippedError("torch.compile needs Triton and a C compiler")

    def require_cuda(self, what: str) -> None:
        if not self.cuda:
            raise SkippedError(f"{what} needs a CUDA device")

    def emit(self, what: str, side: str, **values: Any) -> None:
        """Add a result, and print it."""
        row = {"what": what, "side": side, **values}
        with self.rows.open("a") as file:
            file.write(json.dumps(row) + "\n")
        shown = {key: value for key, value in values.items() if key != "turns_s"}
        print(f"  {what}: {side}: " + ", ".join(f"{key} {value}" for key, value in shown.items()), flush=True)


def wait() -> None:
    """Wait until the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def allocated() -> int:
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else 0


def warmed(make: Callable[[], Step]) -> tuple[Step, dict[str, Any]]:
    """A side after its first WARM steps: the seconds of the first one, with what is compiled in it, the seconds of a
    later one, and the largest memory in MiB that it had on the device, weights and optimiser included."""
    before = allocated()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    step = make()
    step()
    wait()
    first, later = time.perf_counter() - start, []
    for _ in range(WARM):
        start = time.perf_counter()
        step()
        wait()
        later.append(time.perf_counter() - start)
    peak = round((torch.cuda.max_memory_allocated() - before) / 2**20) if torch.cuda.is_available() else None
    return step, {"first_step_s": round(first, 2), "step_s": min(later), "peak_mib": peak}


def compare(bench: Bench, what: str, sides: dict[str, Callable[[], Step]], images: int) -> None:
    """Images a second of each side, medians of alternating turns of about TURN seconds, and the first side's rate over
    each other's. A side that cannot run gives its reason."""
    ready: dict[str, tuple[Step, dict[str, Any]]] = {}
    for name, make in sides.items():
        try:
            ready[name] = warmed(make)
        except SkippedError as reason:
            bench.emit(what, name, skipped=str(reason))
        except Exception as fault:  # whatever a library raises, the other sides have their turn
            bench.emit(what, name, failed=f"{type(fault).__name__}: {first_line(fault)}")
    rounds, turn = (1, 0.0) if bench.dry else (ROUNDS, TURN)
    counts = {name: max(1, round(turn / known["step_s"])) for name, (_, known) in ready.items()}
    taken = {name: in_turn(step, counts[name]) for name, (step, _) in ready.items()}
    found = alternate(taken, rounds, warm=0 if bench.dry else 1)
    rates = {name: counts[name] * images / row["median_s"] for name, row in found.items()}
    first = rates.get(next(iter(sides)))  # None where it could not run: no other side takes its place
    for name, rate in rates.items():
        seconds = [s / counts[name] for s in found[name]["all_s"]]
        bench.emit(
            what,
            name,
            images_per_s=round(rate, 1),
            ms=round(1000 * statistics.median(seconds), 3),
            first_over_it=None if first is None else round(first / rate, 3),
            first_step_s=ready[name][1]["first_step_s"],
            peak_mib=ready[name][1]["peak_mib"],
            turns_s=found[name]["all_s"],
        )


def in_turn(step: Step, count: int) -> Step:
    """`count` steps, until the device has done them."""

    def run() -> None:
        for _ in range(count):
            step()
        wait()

    return run


def pictures(size: int, targets: Targets | np.ndarray, classes: int) -> Dataset:
    """Images of noise with these targets, (size, size, 3) uint8, as a data set."""
    noise = np.random.default_rng(0).integers(0, 256, (len(targets), size, size, 3), dtype=np.uint8)
    names = [f"noise-{i}" for i in range(len(targets))]
    return Dataset("noise", tuple(f"class {i}" for i in range(classes)), Split(noise, targets, names))


def labels(count: int, classes: int) -> np.ndarray:
    return np.arange(count, dtype=np.int64) % classes
