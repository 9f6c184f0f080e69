"""Training steps with units fused against the same without. results/fused_units.json

    python -m benchmarks.fused_units [--turns 15] [--threads 1 2]

Both sides take turns in one process, a step a turn. Processor time is of all threads, and is the figure to trust where
other programs run; memory is kept on both sides, as in training.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from benchmarks.harness import save
from benchmarks.train_step import steps
from skipway import hardware, models
from skipway.errors import SkipwayError

SIDES = ("plain", "fused")
CASES = {  # network, pixels, batch, precision
    "resnet20, 32 pixels, batch 128": ("resnet20", 32, 128, "auto"),
    "resnet20, 32 pixels, batch 256": ("resnet20", 32, 256, "auto"),
    "resnet20, 32 pixels, batch 128, float32": ("resnet20", 32, 128, "float32"),
    "resnet56, 32 pixels, batch 128": ("resnet56", 32, 128, "auto"),
    "preresnet20, 32 pixels, batch 128": ("preresnet20", 32, 128, "auto"),
    "resnet50, 224 pixels, batch 8": ("resnet50", 224, 8, "auto"),
}


def sides(case: str) -> dict[str, Callable[[], None]]:
    """A step of each side. Raises SkipwayError where units cannot be fused."""
    name, size, batch, precision = CASES[case]
    decided = hardware.decide("cpu", precision, fused_units="on")
    if not decided.fused_units:
        raise SkipwayError(f"units cannot be fused here: {decided.reasons['fused units']}")
    settings = {side: replace(decided, fused_units=side == "fused") for side in SIDES}
    return {side: steps(models.build(name), settings[side], size, batch) for side in SIDES}


def measure(case: str, turns: int) -> dict[str, object]:
    """Median seconds of a step, of the clock and of the processor, with all; how many times faster fused steps are."""
    candidates = sides(case)
    wall: dict[str, list[float]] = {side: [] for side in SIDES}
    processor: dict[str, list[float]] = {side: [] for side in SIDES}
    for turn in range(turns + 2):
        for side, step in candidates.items():
            start, used = time.perf_counter(), time.process_time()
            step()
            if turn >= 2:
                wall[side].append(round(time.perf_counter() - start, 5))
                processor[side].append(round(time.process_time() - used, 5))
    found = {
        side: {
            "median_s": statistics.median(wall[side]),
            "median_processor_s": statistics.median(processor[side]),
            "all_s": wall[side],
            "all_processor_s": processor[side],
        }
        for side in SIDES
    }
    ratios = {
        key: round(float(found["plain"][key]) / float(found["fused"][key]), 3)  # type: ignore[arg-type]
        for key in ("median_s", "median_processor_s")
    }
    return {**found, "times_faster": ratios["median_s"], "times_faster_processor": ratios["median_processor_s"]}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--case", choices=CASES, action="append")
    given = parser.parse_args()
    hardware.keep_freed_memory()
    cases = {}
    for threads in given.threads:
        torch.set_num_threads(threads)
        for case in given.case or CASES:
            key = f"{case}, {threads} thread{'s' if threads > 1 else ''}"
            cases[key] = measure(case, given.turns)
            print(key, cases[key]["times_faster"], cases[key]["times_faster_processor"], flush=True)
    save("fused_units", {"what": "seconds of a training step", "turns": given.turns, "cases": cases})


if __name__ == "__main__":
    main()
