"""From a source and a recipe to everything that a run needs: network, preprocessing, batches, validation images."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from skipway import models
from skipway.data.augment import Augmentation
from skipway.data.loader import RESIDENT_LIMIT, Order, Resident, Streamed, in_order, natural_size, open_all
from skipway.data.preprocess import Preprocessing, for_photographs, for_pixels
from skipway.data.source import Source, Split, require_learnable, with_validation
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.models.catalogue import Weights
from skipway.models.contract import Network
from skipway.models.layers import FLOAT32, kept_for_backward
from skipway.models.resnet import zero_last_scale
from skipway.models.stochastic_depth import add_stochastic_depth
from skipway.models.weights import find, load
from skipway.tasks import Classify
from skipway.training.recipes import Recipe

PHOTOGRAPH = 224  # pixels a side for images that are not small
VALIDATION_BATCH = 500  # images


@dataclass(frozen=True)
class Prepared:
    """A run before its first step. `network` holds `models.build`'s arguments."""

    source: Source
    recipe: Recipe
    network: dict[str, Any]
    net: Network
    recomputed: bool
    task: Classify
    preprocessing: Preprocessing
    batches: Resident | Streamed
    validation: "Validation | None"


@dataclass(frozen=True)
class Validation:
    """A split to watch: its images on the device when small, otherwise decoded anew each time."""

    split: Split
    preprocessing: Preprocessing
    images: Tensor | None
    workers: int

    def batches(self) -> Iterator[Tensor]:
        """uint8 (B, C, size, size), in order."""
        if self.images is not None:
            yield from self.images.split(VALIDATION_BATCH)
        else:
            for images, _ in in_order(self.split, self.preprocessing, 64, self.workers):
                yield images

    def targets(self) -> Tensor:
        return torch.from_numpy(self.split.labels)


def channels_of(source: Source) -> int:
    """An array's own channels; photographs, grey ones too, are opened in colour."""
    return source.train.items.shape[3] if isinstance(source.train.items, np.ndarray) else 3


def fitted_recipe(recipe: Recipe, source: Source, console: Console) -> Recipe:
    """`recipe` with a batch no larger than the training set, which is said."""
    count = len(source.train)
    if recipe.batch <= count:
        return recipe
    console.print(f"batch {recipe.batch} is more than the {count} training images: a step takes all {count}")
    return replace(recipe, batch=count)


def open_images(
    source: Source, recipe: Recipe, size: int, record: Weights | None, hardware: Hardware, console: Console
) -> tuple[Preprocessing, Resident | Streamed, Validation | None]:
    """Preprocessing, training batches and validation for images of `size` pixels a side.

    Pretrained weights are fed as their `record` says; without one, as the field's custom is for photographs, and by
    their own mean and deviation for small images.
    """
    channels = channels_of(source)
    augmentation = Augmentation(recipe.crop, recipe.pad, recipe.flip, recipe.cutout, recipe.colour)
    order = Order(len(source.train), recipe.batch, recipe.seed)
    fits = len(source.train) * channels * size * size <= RESIDENT_LIMIT
    if size > models.SMALL or not fits or recipe.crop in ("resized", "scale"):
        preprocessing = as_recorded(for_photographs(size), record)
        workers = hardware.workers
        batches = Streamed(source.train, order, preprocessing, augmentation, hardware.device, workers)
        validation = Validation(source.val, preprocessing, None, workers) if source.val else None
        return preprocessing, batches, validation
    plain = Preprocessing(channels, size, size, (0.5,) * channels, (0.5,) * channels)
    if not isinstance(source.train.items, np.ndarray):
        console.print(f"decoding {len(source.train):,} images into memory")
    images = open_all(source.train, plain)
    preprocessing = as_recorded(for_pixels(images), record)
    labels = torch.from_numpy(source.train.labels).to(hardware.device)
    resident = Resident(images.to(hardware.device), labels, order, preprocessing, augmentation)
    held = open_all(source.val, preprocessing).to(hardware.device) if source.val else None
    validation = Validation(source.val, preprocessing, held, 0) if source.val else None
    return preprocessing, resident, validation


def as_recorded(preprocessing: Preprocessing, record: Weights | None) -> Preprocessing:
    """`preprocessing` with the mean, deviation, filter and margin that the weights of `record` were judged with."""
    if record is None or len(record.mean) != preprocessing.channels:
        return preprocessing
    return replace(
        preprocessing,
        resize=round(preprocessing.size * record.resize / record.size),
        mean=record.mean,
        std=record.std,
        filter="bicubic" if record.interpolation == "bicubic" else "bilinear",
    )


def wants_recomputation(
    network: dict[str, Any], recipe: Recipe, size: int, hardware: Hardware, console: Console
) -> bool:
    """Whether the recipe says so or, left to itself, a step would keep more than half of the device's memory; said."""
    if recipe.recompute != "auto":
        return recipe.recompute == "on"
    with torch.device("meta"):
        twin = models.build(**network)
    kept = kept_for_backward(twin, (network["channels"], size, size))
    need = kept * hardware.dtype.itemsize // FLOAT32 * recipe.batch
    if need > hardware.memory() / 2:
        console.print(f"a step would keep {need / 2**30:.1f} GiB of activations, more than half of the memory")
        return True
    return False


def prepare(source: Source, recipe: Recipe, hardware: Hardware, console: Console) -> Prepared:
    """Everything for a run of `recipe` on `source`. Raises SkipwayError for what cannot be trained."""
    models.require_name(recipe.model)
    source = with_validation(require_learnable(source), recipe.val, recipe.seed)
    recipe = fitted_recipe(recipe, source, console)
    size = recipe.size
    if not size:
        natural = natural_size(source.train, channels_of(source))
        size = natural if natural <= models.SMALL else PHOTOGRAPH
    task = Classify(source.classes)
    network: dict[str, Any] = {"name": recipe.model, "classes": task.outputs, "channels": channels_of(source)}
    if recipe.shortcut:
        network["shortcut"] = recipe.shortcut
    pretrained = find(recipe.model, recipe.pretrained) if recipe.pretrained else None
    if "stem" in models.options_of(recipe.model):
        network["stem"] = (pretrained and pretrained.stem()) or models.stem_for(size)
    net = models.build(**network)
    models.require_size(recipe.model, net, size)
    if recipe.crop == "pad" and recipe.pad >= size:
        raise SkipwayError(
            f"--pad {recipe.pad} is too much for images of {size} pixels: it must be less than their side"
        )
    why = "the weights' own" if pretrained else f"for images of {size} pixels"
    stem = f", {network['stem']} stem ({why})" if "stem" in network else ""
    console.print(f"{recipe.model}: {sum(p.numel() for p in net.parameters()):,} parameters{stem}")
    if recipe.zero_scale and not zero_last_scale(net):
        console.print(f"{recipe.model} has no unit that ends in a normalisation: zero_scale does nothing")
    if recipe.survival < 1:
        add_stochastic_depth(net, recipe.survival)
    again = wants_recomputation(network, recipe, size, hardware, console) and models.recompute(net)
    if again:
        console.print("activations are computed again in the backward pass")
    record = pretrained.record if pretrained else None
    preprocessing, batches, validation = open_images(source, recipe, size, record, hardware, console)
    if pretrained:
        said = load(net, pretrained, recipe.model)
        console.print("; ".join([f"pretrained weights: {recipe.pretrained}", *said]))
    return Prepared(source, recipe, network, hardware.place(net), again, task, preprocessing, batches, validation)


def bundle_values(prepared: Prepared) -> dict[str, Any]:
    """The parts of a card that are known before training."""
    return {
        "task": "classify",
        "network": prepared.network,
        "classes": list(prepared.source.classes),
        "preprocessing": asdict(prepared.preprocessing),
        "recipe": asdict(prepared.recipe),
    }


def require_steps(prepared: Prepared) -> int:
    """Steps in the whole run."""
    recipe = prepared.recipe
    steps = recipe.iterations or recipe.epochs * prepared.batches.order.steps
    if not steps:
        raise SkipwayError("the run has no step: raise --epochs or lower --batch")
    return steps
