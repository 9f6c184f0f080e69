"""The embedded weights: resnet18d_x0_5 trained on 180 classes of Tiny ImageNet, and packed into the package.

    python -m benchmarks.pretrain DATA RUN        train (or go on with RUN where it was interrupted)
    python -m benchmarks.pretrain DATA RUN --pack write src/skipway/models/embedded/ from the finished RUN

DATA is Tiny ImageNet in the hub's parquet layout. Every tenth class is kept out, so that transfer can be measured on
classes that the weights have not seen (benchmarks/transfer.py). No test image is read: val is a twentieth of train.
The pack is refused where float16 costs more than LOSS of val accuracy, or where it is larger than LARGEST.
"""

import argparse
import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from safetensors.torch import save
from torch import Tensor

from skipway import bundle
from skipway.commands import train
from skipway.commands.evaluate import open_run
from skipway.data import open_dataset
from skipway.data.dataset import Dataset, Split
from skipway.errors import SkipwayError
from skipway.evaluation.evaluate import score
from skipway.hardware import decide
from skipway.models.pretrained import embedded
from skipway.models.pretrained.registry import TERMS, TINY_IMAGENET
from skipway.training.recipes import Recipe
from skipway.training.run_manifest import RunOptions

KEPT_OUT = slice(5, None, 10)  # of the classes in the order of their labels: 20 of 200

PRETRAIN = Recipe(
    name="pretrain",
    model="resnet18d_x0_5",
    size=96,
    epochs=32,
    batch=256,
    optimiser="muon",
    muon_rate=0.25,
    lr=0.2,
    lr_batch=128,
    nesterov=True,
    weight_decay=5e-4,
    schedule="linear",
    warmup=0.1,
    label_smoothing=0.1,
    crop="resized",
    small=64,
    small_epochs=10,
    average=0.999,
    val=0.05,
)
"""Images of 64 pixels are enlarged to 96, because an object then covers as many pixels as in a photograph of that
size, and crops of 64 pixels begin because they cost less than half. Rates as in `fast-cifar`; chosen without a search.
"""


def of_classes(dataset: Dataset, chosen: np.ndarray) -> Dataset:
    """The training images of `chosen` classes, numbered anew."""
    number = np.full(len(dataset.classes), -1)
    number[chosen] = np.arange(len(chosen))
    kept = np.flatnonzero(number[dataset.train.labels] >= 0)
    train = dataset.train.take(kept)
    split = Split(train.items, number[train.labels], train.names)
    return Dataset(dataset.name, tuple(dataset.classes[i] for i in chosen), split)


def pretraining_classes(dataset: Dataset) -> np.ndarray:
    """The 180 classes that the weights see."""
    every = np.arange(len(dataset.classes))
    return np.setdiff1d(every, every[KEPT_OUT])


# ---------------------------------------------------------------------------------------------------------------------
# The pack

LOSS = 0.001  # of val accuracy, that float16 may cost
LARGEST = 6_000_000  # bytes of weights
JUDGED = ("n", "top1", "top1_interval", "top5")


def halved(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """`weights` with kernels and matrices in float16. Vectors, which are batch norm's scales and statistics and
    biases, stay as they are: they are few, and a small variance would vanish. Counts of batches are left out."""
    kept = {key: value for key, value in weights.items() if not key.endswith("num_batches_tracked")}
    packed = {key: value.half() if value.dim() > 1 else value for key, value in kept.items()}
    infinite = [key for key, value in packed.items() if not value.isfinite().all()]
    if infinite:
        raise SkipwayError(f"{', '.join(infinite)} cannot be in float16: values are too large, or were not finite")
    return packed


def on_val(run: Path, dataset: Dataset) -> dict[str, Any]:
    """What the bundle `run` reaches on the images of `dataset` that its training held out."""
    opened = open_run(run, decide())
    return opened.evaluate(score(opened.card, dataset, dataset.fingerprint, "val", opened.scorer)).metrics


def packed_card(card: bundle.Card, dataset: Dataset, every: Dataset, weights: bytes, judged: dict[str, Any]) -> bytes:
    """card.json: what the weights of `card` are, learnt from `dataset`, which has classes of `every`."""
    kept_out = [name for name in every.classes if name not in dataset.classes]
    return bundle.to_json(
        {
            "schema": 1,
            "name": f"{card.network['name']}.{embedded.EMBEDDED}",
            "network": card.network,
            "parameters": card.parameters,
            "classes": card.classes,
            "preprocessing": card.preprocessing,
            "metrics": {
                "split": f"{TINY_IMAGENET} val of {len(card.classes)} classes, held out of its train",
                **judged,
            },
            "recipe": card.recipe,
            "data": {
                "name": TINY_IMAGENET,
                "origin": "Tiny ImageNet (Stanford CS231n), images of ImageNet (Russakovsky et al. 2015)",
                "terms": TERMS[TINY_IMAGENET],
                "images": len(dataset.train),
                "counts": card.data["counts"],
                "classes_kept_out": kept_out,
                "fingerprint": card.data["fingerprint"],
            },
            "licence": "Apache-2.0",
            "created": card.created,
            "commit": card.commit,
            "versions": card.versions,
            "hardware": card.hardware,
            "minutes": round(card.seconds / 60, 1),
            "weights_sha256": hashlib.sha256(weights).hexdigest(),
        }
    )


def pack(run: Path, every: Dataset, folder: Path) -> dict[str, Any]:
    """Write weights.safetensors and card.json to `folder` from the finished `run` on classes of `every`; returns what
    they reach on val, with what float32 reaches there. Raises SkipwayError."""
    card, weights = bundle.read_card(run), bundle.read_weights(run)
    dataset = of_classes(every, pretraining_classes(every))
    if list(dataset.classes) != card.classes:
        raise SkipwayError(f"{run} was trained on other classes than {every.name} gives: name the data of the run")
    packed = halved(weights)
    content = save(packed)
    if len(content) > LARGEST:
        raise SkipwayError(f"the weights take {len(content):,} bytes, and at most {LARGEST:,} are embedded")
    with tempfile.TemporaryDirectory() as made:
        again = Path(made)
        bundle.write(again, {**weights, **{key: value.float() for key, value in packed.items()}}, card)
        full, half = on_val(run, dataset), on_val(again, dataset)
    if full["top1"] - half["top1"] > LOSS:
        raise SkipwayError(f"float16 takes the accuracy from {full['top1']:.4f} to {half['top1']:.4f}: keep float32")
    judged = {key: half[key] for key in JUDGED if key in half} | {"top1_float32": full["top1"]}
    folder.mkdir(parents=True, exist_ok=True)
    written = {"weights.safetensors": content, "card.json": packed_card(card, dataset, every, content, judged)}
    bundle.write_together(folder, written)
    return judged


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("run", type=Path)
    parser.add_argument("--pack", action="store_true")
    given = parser.parse_args()
    every = open_dataset(given.data)
    if given.pack:
        judged = pack(given.run, every, embedded.folder())
        print(f"{embedded.folder()}: top-1 {judged['top1']:.4f}, in float32 {judged['top1_float32']:.4f}")
        return
    dataset = of_classes(every, pretraining_classes(every))
    began = (given.run / "run.json").is_file()
    options = RunOptions(checkpoint_seconds=300.0)
    train.train(
        dataset, replace(PRETRAIN), given.run, console=Console(width=160), resume=began, bad=None, options=options
    )


if __name__ == "__main__":
    main()
