"""Test-time protocols on CIFAR-10: accuracy of center, flip and an ensemble of two. results/protocols.json

    python -m benchmarks.protocols WEIGHTS [DATA] [--images 10000] [--copy "what sets the data apart"]

WEIGHTS holds akamaster's resnet20-12fca82f.th and resnet56-4bfd9763.th. DATA is `cifar10` (downloaded) or a parquet
folder; the result says which, because a lossy copy costs accuracy.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest
from torch import Tensor, nn

from benchmarks.harness import save
from skipway import bundle, hardware
from skipway.commands.import_weights import InputOptions, import_weights
from skipway.data import open_dataset
from skipway.data.dataset import Split, match_classes
from skipway.data.preprocess import Preprocessing
from skipway.evaluation.test_time_augmentation import center, ensemble, flip
from skipway.tasks.classify.pooling import mean_softmax
from skipway.trained import TrainedModel

WEIGHTS = {"resnet20": "resnet20-12fca82f.th", "resnet56": "resnet56-4bfd9763.th"}
FEEDING = InputOptions(classes="cifar10", size=32, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def adopted(file: Path, name: str) -> tuple[nn.Module, bundle.Card]:
    """The network of a file of weights, by way of a bundle, and its card."""
    with tempfile.TemporaryDirectory() as folder:
        import_weights(str(file), Path(folder, "run"), name, FEEDING)
        trained = TrainedModel.load(Path(folder, "run"))
        return trained.net, trained.card


def said(scores: Tensor) -> Callable[[Split], Tensor]:
    """A scorer that gives scores which are there already."""
    return lambda _: (scores,)


def accuracy(scores: Tensor, split: Split) -> dict[str, Any]:
    """Top-1 in percent and its 95 % interval (Wilson)."""
    right = int((scores.argmax(1).numpy() == split.labels).sum())
    found = binomtest(right, len(split)).proportion_ci(0.95, method="wilson")
    interval = [round(100 * end, 2) for end in (found.low, found.high)]
    return {"top1": round(100 * right / len(split), 2), "interval": interval}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    parser.add_argument("data", nargs="?", default="cifar10")
    parser.add_argument("--images", type=int, default=10_000, help="the first of the test set")
    parser.add_argument("--copy", default="", help="what sets the data apart")
    given = parser.parse_args()
    machine, dataset = hardware.decide(), open_dataset(given.data)
    scores: dict[str, dict[str, Tensor]] = {"center": {}, "flip": {}}
    for name, file in WEIGHTS.items():
        net, card = adopted(given.weights / file, name)
        net, preprocessing = machine.place(net), Preprocessing(**card.preprocessing)
        split = match_classes(dataset, card.classes).split("test")
        split = split.take(np.arange(min(given.images, len(split))))
        for maker in (center, flip):
            scores[maker.__name__][name] = maker(net, preprocessing, machine, mean_softmax)(split)[0]
    measured = {}
    for protocol, found in scores.items():
        measured |= {f"{name}, {protocol}": accuracy(one, split) for name, one in found.items()}
        (both,) = ensemble([said(one) for one in found.values()], mean_softmax)(split)
        measured[f"ensemble of both, {protocol}"] = accuracy(both, split)
    save(
        "protocols",
        {
            "what": "top-1 accuracy in percent by test-time protocol, others' weights, float32, probabilities averaged",
            "data": f"CIFAR-10 test, the first {len(split):,} images{', ' + given.copy if given.copy else ''}",
            "images": len(split),
            "weights": WEIGHTS,
            "accuracy": measured,
        },
    )


if __name__ == "__main__":
    main()
