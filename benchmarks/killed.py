"""Trainings that are killed again and again, and end with the weights of the one that was not. results/killed.json

    python -m benchmarks.killed [--kills 24] [--epochs 45]

Three stories on the embedded digits, each as the command line runs it, each ending in a comparison of SHA-256 sums of
weights.safetensors with an uninterrupted run:

- SIGKILL at random moments: while it starts, between and within steps, and, every second time, while a checkpoint is
  being written (a folder that begins with a dot is there); then `skipway train --resume RUN`.
- SIGTERM in the middle of epochs, which must exit with 143 after its step is saved.
- Two processes (gloo), of which one, chosen at random, gets SIGKILL; torchrun's agent starts both again.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import save
from skipway.bundle import sha256
from skipway.training.run_manifest import has_manifest

STEPS = 3  # between checkpoints
TRAIN = ("train", "digits", "--device", "cpu", "--checkpoint-steps", str(STEPS))


def start(run: Path, epochs: int, *more: str) -> "subprocess.Popen[bytes]":
    """The run's first process, or the one that goes on with it."""
    words = (
        ("train", "--resume", str(run)) if has_manifest(run) else (*TRAIN, "--epochs", str(epochs), "--out", str(run))
    )
    with (run.parent / f"{run.name}.log").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "skipway", *words, *more], stdout=log, stderr=log)


def finish(run: Path, epochs: int, *more: str) -> str:
    """The run to its end, and the sum of its weights."""
    code = start(run, epochs, *more).wait()
    assert code == 0, f"exit code {code}: see {run.parent / run.name}.log"
    return sha256(run / "weights.safetensors")


def newest(run: Path) -> str:
    return max((folder.name for folder in (run / "checkpoints").glob("epoch-*")), default="")


def half_written(run: Path) -> set[Path]:
    """Checkpoints being written, and those that a killed process left so."""
    return set((run / "checkpoints").glob(".epoch-*"))


def wait_until(process: "subprocess.Popen[bytes]", happens: Any, longest: float = 120) -> None:
    """Until `happens()`, or the process ends."""
    deadline = time.monotonic() + longest
    while process.poll() is None and not happens() and time.monotonic() < deadline:
        time.sleep(0.0005)


def kill_somewhere(run: Path, epochs: int, chance: random.Random, turn: int) -> dict[str, Any] | None:
    """Kill the run once, and say where it was; None when it was done before."""
    before, left = newest(run), half_written(run)
    process, began = start(run, epochs), time.monotonic()
    if turn % 5 == 4:
        kind = "any time from its start"
        time.sleep(chance.uniform(0, 6))
    else:
        wait_until(process, lambda: newest(run) != before)
        kind = "while training"
        if turn % 2:
            kind = "while a checkpoint is written"
            wait_until(process, lambda: half_written(run) - left)
            time.sleep(chance.uniform(0, 0.01))
        else:
            time.sleep(chance.uniform(0, 0.7))
    if process.poll() is not None:
        return None
    process.kill()
    process.wait()
    told = {"aimed": kind, "after_s": round(time.monotonic() - began, 3)}
    return told | {"half_written": bool(half_written(run) - left), "newest": newest(run)}


def killed(folder: Path, epochs: int, kills: int, chance: random.Random) -> dict[str, Any]:
    """The story of SIGKILL."""
    run, told = folder / "killed", []
    for turn in range(kills):
        done = kill_somewhere(run, epochs, chance, turn)
        if done is None:
            break
        told.append(done)
        print(turn, done, flush=True)
    return {"kills": len(told), "while_writing": sum(one["half_written"] for one in told)} | {
        "sha256": finish(run, epochs),
        "all": told,
    }


def ended(folder: Path, epochs: int, times: int, chance: random.Random) -> dict[str, Any]:
    """The story of SIGTERM."""
    run, codes = folder / "ended", []
    for _ in range(times):
        before, process = newest(run), start(run, epochs)
        wait_until(process, lambda before=before: newest(run) != before)
        time.sleep(chance.uniform(0, 0.5))
        process.send_signal(signal.SIGTERM)
        codes.append(process.wait())
        print("SIGTERM:", codes[-1], newest(run), flush=True)
    return {"signals": times, "exit_codes": codes, "sha256": finish(run, epochs)}


def workers_of(launcher: int) -> list[int]:
    """The process ids of a launcher's children that train."""
    found = subprocess.run(["pgrep", "-P", str(launcher), "-f", "skipway train"], capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def bereaved(folder: Path, epochs: int, times: int, chance: random.Random) -> dict[str, Any]:
    """The story of two processes."""
    run, kills = folder / "bereaved", 0
    process = start(run, epochs, "--devices", "2")
    for _ in range(times):
        before = newest(run)
        wait_until(process, lambda before=before: newest(run) > before)
        time.sleep(chance.uniform(0, 1))
        if pids := workers_of(process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(chance.choice(pids), signal.SIGKILL)
                kills += 1
                print("one of two killed after", newest(run), flush=True)
    code = process.wait()
    assert code == 0, f"exit code {code}: see {run}.log"
    whole = finish(folder / "together", epochs, "--devices", "2")
    weights = sha256(run / "weights.safetensors")
    return {"kills": kills, "sha256": weights, "uninterrupted": whole, "equal": weights == whole}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--epochs", type=int, default=45)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dry", action="store_true", help="print, and write no result")
    given = parser.parse_args()
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = finish(folder / "whole", given.epochs)
        one = killed(folder, given.epochs, given.kills, chance)
        two = ended(folder, given.epochs, max(1, given.kills // 8), chance)
        three = bereaved(folder, given.epochs, max(1, min(3, given.kills // 8)), chance)
    measured = {
        "what": "weights after kills against those of an uninterrupted run, `skipway train digits`, a checkpoint every "
        f"{STEPS} steps of {given.epochs} epochs of 10",
        "uninterrupted": whole,
        "SIGKILL": one | {"equal": one["sha256"] == whole},
        "SIGTERM": two | {"equal": two["sha256"] == whole},
        "two processes, one killed": three,
    }
    if given.dry:
        print(measured)
    else:
        save("killed", measured)


if __name__ == "__main__":
    main()
