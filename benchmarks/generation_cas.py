"""Classification accuracy score (Ravuri 2019, arXiv:1905.10887): how well a classifier that learned from generated
images alone finds the classes of real ones. results/generation.json, in the set's `classification_accuracy_score`

    python -m benchmarks.generation_cas digits|mnist|cifar DATA [--seeds 0 1 2] [--threads N]

For each seed, the generator that `python -m benchmarks.generation` trained with it draws as many images of each class
as the real training data have, without guidance. The same classifier, by the same recipe and with the same seed, learns
from them and from the real ones, and both are evaluated on the real test images. Whatever was made before, in
build/generation, is not made again.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.generation import CACHE, SETS, keep_beside, trained
from benchmarks.harness import mean_and_deviation
from skipway import bundle, hardware
from skipway.data import open_dataset
from skipway.data.dataset import Dataset, Split
from skipway.deploy.generate.generator import Generator
from skipway.deploy.generate.request import GenerationRequest
from skipway.errors import refuse_if
from skipway.hardware import Hardware

SHOWN_EVERY = 1_000  # images


def drawn(generator: Generator, labels: np.ndarray, file: Path, seed: int) -> np.ndarray:
    """An image uint8 (H, W, C) of each label (n,), as it is in `file` or drawn into it."""
    if file.exists():
        return np.asarray(np.load(file))
    names = tuple(generator.classes[label] for label in labels)
    pixels = []
    for image in generator.generate(GenerationRequest(names, len(labels), seed)):
        pixels.append(image.pixels)
        if len(pixels) % SHOWN_EVERY == 0:
            print(f"{len(pixels):,} of {len(labels):,} images", flush=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    np.save(file, np.stack(pixels))
    return np.stack(pixels)


def generated(real: Dataset, run: Path, settings: Hardware, seed: int) -> Dataset:
    """`real` with an image drawn by the generator `run` in place of each training image."""
    generator, labels = Generator(run, settings), real.train.labels
    refuse_if(generator.classes != real.classes, f"{run} has other classes than {real.name}", "name its own data")
    pixels = drawn(generator, labels, run / "drawn.npy", seed)
    train = Split(pixels, labels, [f"drawn-{index}" for index in range(len(labels))])
    return replace(real, name=f"drawn by {run.name}", train=train)


def top1(run: Path) -> float:
    """Accuracy on the real test images in percent, of the evaluation at the end of the training."""
    return round(100 * bundle.read_card(run).metrics["test"]["top1"], 2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=SETS)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=0, help="0: all")
    given = parser.parse_args()
    settings = hardware.decide()
    if given.threads:
        torch.set_num_threads(given.threads)
        settings = replace(settings, threads=given.threads)
    real, classifier = open_dataset(given.data), SETS[given.kind][1]
    folder = CACHE / given.kind
    accuracies: dict[str, list[float]] = {"generated": [], "real": []}
    for seed in given.seeds:
        made = generated(real, folder / f"seed-{seed}", settings, seed)
        for name, dataset in (("generated", made), ("real", real)):
            run = trained(folder / "cas" / f"{name}-{seed}", dataset, settings, **classifier, changes={"seed": seed})
            accuracies[name].append(top1(run))
        print({name: values[-1] for name, values in accuracies.items()}, flush=True)
    card = bundle.read_card(folder / "cas" / f"generated-{given.seeds[0]}")
    measured = {
        "what": "accuracy on real test images in percent, of a classifier that learned from generated images alone, "
        "and of the same from as many real ones",
        "classifier": card.network["name"],
        "recipe": card.recipe["name"],
        "training_images": card.data["counts"]["train"],
        "seeds": given.seeds,
        **{name: mean_and_deviation(values) for name, values in accuracies.items()},
    }
    keep_beside(measured, "sets", given.kind, "classification_accuracy_score")


if __name__ == "__main__":
    main()
