"""CIFAR-10: test accuracy of `fast-cifar` over seeds. results/cifar10.json

    python -m benchmarks.cifar10 [DATA] [--seeds 2]

DATA is `cifar10` (downloaded) or a parquet folder; the result says which, because a lossy copy costs accuracy.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.harness import mean_and_deviation, save
from skipway import api
from skipway.training.recipes import FAST_CIFAR


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", default="cifar10")
    parser.add_argument("--copy", default="", help="what sets the data apart")
    parser.add_argument("--seeds", type=int, default=2)
    given = parser.parse_args()
    accuracy = []
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as folder:
            recipe = replace(FAST_CIFAR, seed=seed)
            run = api.train(given.data, recipe, Path(folder, "run"), console=Console(width=160))
            accuracy.append(round(100 * api.evaluate(run).metrics["top1"], 4))
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
