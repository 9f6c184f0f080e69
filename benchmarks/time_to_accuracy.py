"""The accuracy that a plain loop reaches in 14 epochs, and the time until ours has it. results/time_to_accuracy.json

    python -m benchmarks.time_to_accuracy PLAIN_LOOP.py DATA [--seeds 5] [--plain-seeds 5] [--copy WORDS]

PLAIN_LOOP.py prints "epoch loss accuracy seconds rate" for each epoch. Both train resnet20 on all 50,000 images, each
seed in a process of its own, the two in turns; loading and testing are left out on both sides. Of the test images only
the accuracy after the last epoch is read, once. The recipe was chosen on val (docs/log.md).
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.harness import mean_and_deviation, save
from skipway.training.recipes import FASTEST_CIFAR

OURS = """
import sys
from pathlib import Path
from dataclasses import replace
from rich.console import Console
import skipway
from skipway.training.recipes import FASTEST_CIFAR
data, seed, out = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
print(100 * skipway.train(data, replace(FASTEST_CIFAR, seed=seed), out, console=Console(quiet=True)).metrics["top1"])
"""


def ours(data: str, seed: int) -> tuple[float, float]:
    """Accuracy on test in percent after the last epoch, and seconds of training."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", OURS, data, str(seed), f"{folder}/run"]
        accuracy = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
        last = Path(folder, "run", "metrics.jsonl").read_text().splitlines()[-1]
        return round(accuracy, 4), round(json.loads(last)["seconds"], 1)


def theirs(script: str, seed: int) -> tuple[float, float]:
    """Likewise of the plain loop."""
    command = [sys.executable, script, "--epochs", "14", "--batch", "256", "--seed", str(seed)]
    last = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1].split()
    return float(last[2]), float(last[3])


def write(found: dict[str, list[tuple[float, float]]], copy: str) -> None:
    """The result of the seeds so far."""
    sides = {
        side: {
            "accuracy": mean_and_deviation([accuracy for accuracy, _ in runs]),
            "seconds": mean_and_deviation([seconds for _, seconds in runs]),
        }
        for side, runs in found.items()
    }
    ours, plain = (sides[side]["seconds"]["mean"] for side in ("skipway", "plain loop"))
    save(
        "time_to_accuracy",
        {
            "what": "resnet20: test accuracy in percent after the last epoch, and seconds of training, by seed",
            "data": f"CIFAR-10{', ' + copy if copy else ''}",
            "epochs": {"plain loop": 14, "skipway": FASTEST_CIFAR.epochs},
            "sides": sides,
            "share of time": round(ours / plain, 3),
        },
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("script")
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--plain-seeds", type=int, default=5)
    parser.add_argument("--copy", default="", help="what sets the data apart")
    given = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {"plain loop": [], "skipway": []}
    for seed in range(max(given.seeds, given.plain_seeds)):
        if seed < given.plain_seeds:
            found["plain loop"].append(theirs(given.script, seed))
        if seed < given.seeds:
            found["skipway"].append(ours(given.data, seed))
        print({side: runs[-1] for side, runs in found.items() if runs}, flush=True)
        write(found, given.copy)  # after each seed, since all of them take an hour


if __name__ == "__main__":
    main()
