"""Digits: test accuracy over five seeds and the processor seconds of each training. results/digits.json

python -m benchmarks.digits
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import skipway
from benchmarks.harness import mean_and_deviation, save
from skipway.training.recipes import QUICK

SEEDS = (0, 1, 2, 3, 4)


def main() -> None:
    accuracy, seconds = [], []
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as folder:
            start = time.process_time()
            run = skipway.train("digits", replace(QUICK, seed=seed), Path(folder, "run"))
            seconds.append(round(time.process_time() - start, 2))  # the report included
            accuracy.append(round(100 * run.metrics["top1"], 4))
            print(f"seed {seed}: {accuracy[-1]:.2f} %, {seconds[-1]} processor seconds", flush=True)
    save(
        "digits",
        {
            "what": "test accuracy in percent (360 images) and processor seconds of `skipway train digits`, by seed",
            "seeds": SEEDS,
            "accuracy": mean_and_deviation(accuracy),
            "processor_seconds": mean_and_deviation(seconds),
        },
    )


if __name__ == "__main__":
    main()
