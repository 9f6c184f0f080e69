"""`python -m benchmarks.chaos`: all cases, one after the other, into results/chaos.json."""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.chaos import machines, serving, training
from benchmarks.chaos.conditions import may_mount
from benchmarks.chaos.forked import command, import_all, start
from benchmarks.chaos.outcome import Failure, Outcome
from benchmarks.chaos.stories import EVERY_STEP, MACHINE, TRAIN, photographs
from benchmarks.harness import RESULTS, save


def prepared(folder: Path) -> tuple[Path, Path]:
    """Photographs, and a bundle trained on them; everything that training imports is imported then."""
    torch.set_num_threads(1)
    photos, run, said = photographs(folder / "photos"), folder / "bundle", folder / "said"
    words = ["train", str(photos), *TRAIN, *MACHINE, *EVERY_STEP, "--out", str(run)]
    copy = start(command(words), said, said, folder / "modules")
    if copy.wait():
        raise RuntimeError(f"no bundle: {said.read_text()}")
    import_all(folder / "modules")
    return photos, run


def tried(name: str, case: Callable[[], Outcome], folder: Path) -> dict[str, Any]:
    """What came of a case."""
    began = time.monotonic()
    try:
        outcome = case()
    except (Failure, TimeoutError) as fault:
        outcome = Outcome("failed", time.monotonic() - began, str(fault))
    line = outcome.line.replace(f"{folder}/", "")[:400]
    row = {"case": name, "outcome": outcome.what, "seconds": round(outcome.seconds, 1), "line": line}
    print(row, flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="cases whose name contains this")
    parser.add_argument("--part", choices=("training", "serving", "machines"), help="these alone; the others stay")
    parser.add_argument("--dry", action="store_true", help="print, and write no result")
    given = parser.parse_args()
    if not may_mount():
        raise SystemExit("skipped: full disks and machines need root and mounts, which this process may not make")
    before = json.loads((RESULTS / "chaos.json").read_text()) if (RESULTS / "chaos.json").exists() else {}
    measured = {part: before.get(part, []) for part in ("training", "serving", "machines")}
    with tempfile.TemporaryDirectory(prefix="chaos-") as name:
        folder = Path(name)
        photos, run = prepared(folder)
        trainings, servers = training.Trainings(folder / "training", photos), serving.Servers(folder / "serving", run)
        parts: dict[str, dict[str, Callable[[], Outcome]]] = {
            "training": {key: partial(case, trainings) for key, case in training.CASES.items()},
            "serving": {key: partial(case, servers) for key, case in serving.CASES.items()},
            "machines": machines.cases(folder / "machines"),
        }
        for part, cases in parts.items():
            if given.part in (None, part):
                chosen = {key: case for key, case in cases.items() if given.only in key}
                measured[part] = [tried(key, case, folder) for key, case in chosen.items()]
    if not given.dry:
        what = "what became of trainings and servers when things failed around them; seconds from the start of a case"
        save("chaos", {"what": what, **measured})


if __name__ == "__main__":
    main()
