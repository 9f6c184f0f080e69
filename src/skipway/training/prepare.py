"""From a source and a recipe to everything that a run needs: network, preprocessing, batches, validation images."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from skipway import models
from skipway.bundle import read_card
from skipway.data.augment import Augmentation
from skipway.data.loader import RESIDENT_LIMIT, Order, Resident, Streamed, in_order, natural_size, open_all
from skipway.data.preprocess import Preprocessing, for_photographs, for_pixels
from skipway.data.source import Source, Split, require_learnable, with_validation
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.models.contract import Network
from skipway.models.layers import FLOAT32, kept_for_backward
from skipway.models.resnet import zero_last_scale
from skipway.models.stochastic_depth import add_stochastic_depth
from skipway.models.weights import Pretrained, find, load
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
    source: Source, recipe: Recipe, size: int, fed: Preprocessing | None, hardware: Hardware, console: Console
) -> tuple[Preprocessing, Resident | Streamed, Validation | None]:
    """Preprocessing, training batches and validation for images of `size` pixels a side.

    Images are prepared as pretrained weights are `fed`; otherwise as the field's custom is for photographs, and by
    their own mean and deviation when small.
    """
    channels = channels_of(source)
    augmentation = Augmentation(
        recipe.crop, recipe.pad, recipe.flip, recipe.cutout, recipe.colour, recipe.small, recipe.small_epochs
    )
    order = Order(len(source.train), recipe.batch, recipe.seed)
    fits = len(source.train) * channels * size * size <= RESIDENT_LIMIT
    if size > models.SMALL or not fits or recipe.crop in ("resized", "scale"):
        preprocessing = fed_alike(for_photographs(size), fed)
        workers = hardware.workers
        batches = Streamed(source.train, order, preprocessing, augmentation, hardware.device, workers)
        validation = Validation(source.val, preprocessing, None, workers) if source.val else None
        return preprocessing, batches, validation
    plain = Preprocessing(channels, size, size, (0.5,) * channels, (0.5,) * channels)
    if not isinstance(source.train.items, np.ndarray):
        console.print(f"decoding {len(source.train):,} images into memory")
    images = open_all(source.train, plain)
    preprocessing = fed_alike(for_pixels(images), fed)
    labels = torch.from_numpy(source.train.labels).to(hardware.device)
    resident = Resident(images.to(hardware.device), labels, order, preprocessing, augmentation)
    held = open_all(source.val, preprocessing).to(hardware.device) if source.val else None
    validation = Validation(source.val, preprocessing, held, 0) if source.val else None
    return preprocessing, resident, validation


def feeding(recipe: Recipe, pretrained: Pretrained | None) -> Preprocessing | None:
    """How the images of pretrained weights are prepared, by their bundle's card or their record; None: not known.

    Raises BundleError for a changed bundle, SkipwayError for one of another network.
    """
    folder = Path(recipe.pretrained)
    if pretrained and folder.is_dir():
        card = read_card(folder)
        if card.network["name"] != recipe.model:
            raise SkipwayError(f"{folder} holds {card.network['name']}, not {recipe.model}: choose it as --model")
        return Preprocessing(**card.preprocessing)
    record = pretrained.record if pretrained else None
    if record is None:
        return None
    filter_: Literal["bicubic", "bilinear"] = "bicubic" if record.interpolation == "bicubic" else "bilinear"
    return Preprocessing(len(record.mean), record.size, record.resize, record.mean, record.std, filter=filter_)


def fed_alike(preprocessing: Preprocessing, fed: Preprocessing | None) -> Preprocessing:
    """`preprocessing` with the mean and deviation of `fed` and, for photographs, its filter and margin."""
    if fed is None or len(fed.mean) != preprocessing.channels:
        return preprocessing
    normalised = replace(preprocessing, mean=tuple(fed.mean), std=tuple(fed.std))
    if preprocessing.resize == preprocessing.size:  # a small image is taken whole, as it is in training
        return normalised
    return replace(normalised, resize=round(preprocessing.size * fed.resize / fed.size), filter=fed.filter)


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
    have = hardware.memory()
    if have is not None and need > have / 2:
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
    if recipe.small_epochs and not net.smallest <= recipe.small <= size:
        raise SkipwayError(
            f"--small {recipe.small} must be between {net.smallest} and {size} pixels for {recipe.model}"
        )
    if recipe.crop == "pad" and recipe.pad >= size:
        raise SkipwayError(
            f"--pad {recipe.pad} is too much for images of {size} pixels: it must be less than their side"
        )
    why = "the weights' own" if pretrained else f"for images of {size} pixels"
    stem = f", {network['stem']} stem ({why})" if "stem" in network else ""
    console.print(f"{recipe.model}: {sum(p.numel() for p in net.parameters()):,} parameters{stem}")
    if recipe.zero_scale and not zero_last_scale(net):
        console.print(f"{recipe.model} has no unit that ends in a normalisation: zero_scale does nothing")
    if recipe.survival < 1 and not add_stochastic_depth(net, recipe.survival):
        console.print(f"{recipe.model} has no residual unit to leave out: survival does nothing")
    wanted = wants_recomputation(network, recipe, size, hardware, console)
    again = wanted and models.recompute(net)
    if wanted:
        done = "activations are computed again in the backward pass"
        refused = f"{recipe.model} has no stage to compute again: lower --batch if a step does not fit"
        console.print(done if again else refused)
    fed = feeding(recipe, pretrained)
    preprocessing, batches, validation = open_images(source, recipe, size, fed, hardware, console)
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
