"""CIFAR-10: test accuracy of `fast-cifar` over seeds. results/cifar10.json

    python -m benchmarks.cifar10 [DATA] [--seeds 2]

DATA is `cifar10` (downloaded) or a parquet folder; the result says which, because a lossy copy costs accuracy.
"""

import argparse
import multiprocessing
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

import skipway
from benchmarks.harness import mean_and_deviation, save
from skipway.training.recipes import FAST_CIFAR


def accuracy_of(data: str, seed: int, threads: int) -> float:
    """Test accuracy in percent after training with `seed` on `threads` threads."""
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        run = skipway.train(data, replace(FAST_CIFAR, seed=seed), Path(folder, "run"), console=Console(width=160))
        return round(100 * run.metrics["top1"], 4)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default="cifar10")
    parser.add_argument("--copy", default="", help="what sets the data apart")
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    cores = os.cpu_count() or 1
    at_once = min(given.seeds, cores)  # seeds side by side use a CPU better than threads of one run
    jobs = [(given.data, seed, cores // at_once) for seed in range(given.seeds)]
    with ProcessPoolExecutor(at_once, multiprocessing.get_context("spawn")) as pool:
        accuracy = list(pool.map(accuracy_of, *zip(*jobs, strict=True)))
    save(
        "cifar10",
        {
            "what": "test accuracy in percent (10,000 images, one view) of recipe fast-cifar, by seed",
            "data": f"CIFAR-10{', ' + given.copy if given.copy else ''}",
            "model": FAST_CIFAR.model,
            "epochs": FAST_CIFAR.epochs,
            "batch": FAST_CIFAR.batch,
            "seeds": list(range(given.seeds)),
            "accuracy": mean_and_deviation(accuracy),
        },
    )


if __name__ == "__main__":
    main()
