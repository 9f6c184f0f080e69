"""Hostile inputs by the ten thousand, surface by surface, counted. results/fuzz.json

    python -m benchmarks.fuzz [--inputs 10000] [--seed 0] [--surface cards ...]

Each surface is one or several tests of tests/fuzz, run by pytest in a process of its own with so many examples, and
with the next seed until the inputs are enough. An input counts as accepted or refused in one line; a traceback, a
message of several lines or a 5xx is a failure, which is shown with the input that causes it. Results of surfaces that
are not run now are kept. Longer looks at bytes, led by coverage: benchmarks/fuzz_bytes.py.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, save

ROOT = Path(__file__).resolve().parent.parent
FUZZ = "tests/fuzz"
SURFACES: dict[str, tuple[str, ...]] = {  # each a number of tests that share its inputs evenly
    "cards": (
        f"{FUZZ}/test_cards.py::test_any_change_of_a_card_is_refused_or_harmless",
        f"{FUZZ}/test_cards.py::test_any_damage_to_a_card_is_refused_or_harmless",
    ),
    "run.json": (
        f"{FUZZ}/test_runs.py::test_any_change_of_run_json_is_refused_or_harmless",
        f"{FUZZ}/test_runs.py::test_any_damage_to_run_json_is_refused_or_harmless",
    ),
    "checkpoints": (
        f"{FUZZ}/test_runs.py::test_any_change_of_a_checkpoints_values_is_refused_or_harmless",
        f"{FUZZ}/test_runs.py::test_any_damage_to_a_checkpoints_tensors_is_refused_or_harmless",
    ),
    "exports": (f"{FUZZ}/test_exports.py",),
    "tables": (f"{FUZZ}/test_tables.py::test_tables", f"{FUZZ}/test_tables.py::test_parquet"),
    "shards": (f"{FUZZ}/test_tables.py::test_shards",),
    "annotations": (f"{FUZZ}/test_annotations.py::test_annotations_of_boxes",),
    "masks": (f"{FUZZ}/test_annotations.py::test_masks_and_their_classes",),
    "downloads": (f"{FUZZ}/test_downloads.py",),
    "multipart bodies": (f"{FUZZ}/test_server.py::test_forms",),
    "JSON bodies": (f"{FUZZ}/test_server.py::test_json",),
    "image headers": (f"{FUZZ}/test_image_headers.py",),
}
TESTS = {"exports": 7, "tables": 3, "annotations": 4, "masks": 4}  # after parametrisation, where it is not the length
ROUNDS = 6  # at most: hypothesis does not repeat examples, and some strategies have few


def fuzzed(tests: tuple[str, ...], examples: int, seed: int) -> dict[str, int]:
    """One run of pytest: accepted, refused, failures."""
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts.json"
        limits = {"FUZZ_EXAMPLES": str(examples), "FUZZ_COUNTS": str(counts), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "pytest", *tests, f"--hypothesis-seed={seed}", "--timeout", "0"]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | limits, capture_output=True, text=True, check=False)
        found = json.loads(counts.read_text()) if counts.is_file() else {}
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-2000:], file=sys.stderr, flush=True)
    failed = sum(line.startswith(("FAILED", "ERROR")) for line in done.stdout.splitlines())
    failed = failed or int(done.returncode != 0)
    return {"accepted": found.get("accepted", 0), "refused": found.get("refused", 0), "failures": failed}


def surface(name: str, inputs: int, seed: int) -> dict[str, Any]:
    """All rounds of a surface, until there were so many inputs."""
    tests = SURFACES[name]
    total = {"accepted": 0, "refused": 0, "failures": 0}
    before, seeds = processor_seconds(), []
    for number in range(ROUNDS):
        left = inputs - total["accepted"] - total["refused"]
        if left <= 0 or total["failures"]:
            break
        seeds.append(seed + number)
        found = fuzzed(tests, -(-left // TESTS.get(name, len(tests))), seeds[-1])
        total = {key: total[key] + found[key] for key in total}
    return {
        "surface": name,
        "inputs": total["accepted"] + total["refused"],
        "accepted": total["accepted"],
        "refused_in_one_line": total["refused"],
        "failures": total["failures"],
        "processor_seconds": round(processor_seconds() - before, 1),
        "seeds": seeds,
    }


def processor_seconds() -> float:
    """Of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--surface", action="append", choices=SURFACES)
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    file = RESULTS / "fuzz.json"
    earlier = json.loads(file.read_text()) if file.is_file() else {}
    found = {one["surface"]: one for one in earlier.get("surfaces", [])}
    for name in given.surface or SURFACES:
        found[name] = surface(name, given.inputs, given.seed)
        print(found[name], flush=True)
        rows = [found[key] for key in SURFACES if key in found]
        save("fuzz", {"what": "hostile inputs, each refused in one line or used", "surfaces": rows})


if __name__ == "__main__":
    main()
