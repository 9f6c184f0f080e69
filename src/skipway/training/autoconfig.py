"""Chooses a recipe for a data set: network, weights, size, batch and length, with the reasons.

The choice depends on the number of images, their size and whether they are photographs, and on whether the machine has
a GPU and pretrained weights are available. The numbers were found on validation images of three data sets
(docs/transfer.md lists them, and what else was tried).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from rich.console import Console

from skipway import models
from skipway.data.dataset import Dataset, require_learnable
from skipway.data.decode import WHITE, channels_in, decode_reduced
from skipway.errors import DataError, refuse_if
from skipway.hardware import Hardware
from skipway.models.pretrained.embedded import EMBEDDED
from skipway.models.pretrained.embedded import NETWORK as EMBEDDED_NET
from skipway.models.pretrained.registry import WEIGHTS
from skipway.models.pretrained.weights import find_record, is_available, network_of
from skipway.tasks import Task, task_for
from skipway.training.recipes import FAST_CIFAR, FINETUNE, MODERN, QUICK, RECIPES, SCRATCH, Recipe, find_recipe
from skipway.training.setup import fitted_batch, side_for
from skipway.training.time_estimate import StepTimer, Workload, fit_to_budget

AUTO = "auto"  # as a recipe's `pretrained`: the weights that suit the machine
ON_GPU, ON_CPU = "resnet50.tv_v2", "resnet18.tv_v1"  # a step takes seconds at most on either
PREFERRED = ("tv_v2", "tv_v1")  # of a network's weights

TINY = 24  # pixels; images with a shorter side below are not photographs
MANY_SMALL = 20_000  # small images, from which training from scratch is as good
MANY = 50_000  # photographs, likewise
SAMPLED = 32  # images inspected for sizes and colours
ENOUGH = 256  # pixels of the shorter side that show whether an image is grey
GREY = 2.0  # mean difference of red, green and blue (0 to 255) up to which an image is grey

Start = Literal["pretrained", "scratch"]
# passes over many images of a task's own recipe, as detectors are trained on COCO (He 2019, arXiv:1811.08883)
FEWEST_PASSES: dict[Start, int] = {"pretrained": 12, "scratch": 72}


@dataclass(frozen=True)
class DataFacts:
    """What the choice depends on. `images`: training images; `side`: the median shorter side in pixels; `grey`: no
    image of a sample has colours."""

    images: int
    side: int
    channels: int
    classes: int
    grey: bool

    @property
    def small(self) -> bool:
        return self.side <= models.SMALL

    @property
    def photographs(self) -> bool:
        """Whether features learnt from photographs can help."""
        return self.channels == 3 and self.side >= TINY and not (self.grey and self.small)


@dataclass(frozen=True)
class Choice:
    """A recipe, and the reason for it as text."""

    recipe: Recipe
    reason: str


def facts_of(dataset: Dataset) -> DataFacts:
    """The facts of `dataset` from a sample of its training images. Raises DataError when none of them can be read."""
    items, names = dataset.train.items, dataset.train.names
    indices = np.linspace(0, len(items) - 1, min(SAMPLED, len(items))).astype(int)
    sides, colourful, channels = [], False, 0
    error: DataError | None = None
    for i in indices:
        try:
            channels = channels or channels_in(items[i], names[i])
            image, size = decode_reduced(items[i], channels, names[i], WHITE, ENOUGH)
        except DataError as unreadable:
            error = unreadable
            continue
        sides.append(min(size))
        if channels == 3:
            spread = image.float().amax(0) - image.float().amin(0)
            colourful = colourful or spread.mean().item() > GREY
    if not sides:
        raise error or DataError(f"{dataset.name} has no training images: check the folder, or name another")
    outputs = task_for(dataset).outputs
    return DataFacts(len(items), int(np.median(sides)), channels, outputs, not colourful)


def choose(facts: DataFacts, hardware: Hardware, start: Start = "pretrained", model: str = "") -> Choice:
    """The recipe for data of `facts`. `model`: the network that the user chose; "": any."""
    gpu = hardware.device.type == "cuda"
    many = facts.images >= (MANY_SMALL if facts.small else MANY)
    if not facts.photographs:
        return small_images(facts, "they are not colour photographs", model)
    if many and facts.small:
        return small_images(facts, "they are enough to train from scratch", model)
    if many or start == "scratch":
        reason = "they are enough to train from scratch" if many else "--from-scratch was given"
        return from_scratch(facts, gpu, reason, many, model)
    weights = weights_for(model, hardware)
    if weights is None:
        return from_scratch(facts, gpu, f"no pretrained weights of {model} are available", many, model)
    return finetuned(facts, gpu, weights)


def small_images(facts: DataFacts, reason: str, model: str) -> Choice:
    """Training from scratch at the images' own size; long for few images and short for many."""
    if facts.images < MANY_SMALL:
        recipe = replace(QUICK, flip=facts.photographs)
    else:
        recipe = replace(FAST_CIFAR, flip=facts.photographs, val=QUICK.val, small=0, small_epochs=0)
    return Choice(replace(recipe, model=model or recipe.model), reason)


def from_scratch(facts: DataFacts, gpu: bool, reason: str, many: bool, model: str) -> Choice:
    recipe = replace(MODERN, model="resnet50" if gpu else "resnet18") if many else SCRATCH
    return Choice(replace(recipe, model=model or recipe.model, size=size_for(facts, gpu, embedded=not many)), reason)


def finetuned(facts: DataFacts, gpu: bool, weights: str) -> Choice:
    """Training from pretrained weights, with more epochs for fewer images."""
    net = network_of(weights)
    assert net is not None
    size = size_for(facts, gpu, net == EMBEDDED_NET)
    recipe = replace(scale_epochs(FINETUNE, facts.images), model=net, pretrained=weights, size=size)
    return Choice(recipe, "they are too few to train from scratch as well as from pretrained weights")


def scale_epochs(recipe: Recipe, images: int) -> Recipe:
    """`recipe`, whose epochs are for 2,000 images, with more epochs for fewer images and fewer for more."""
    share = (2_000 / images) ** 0.5
    epochs = min(max(round(recipe.epochs * share), 5), 60)
    return replace(recipe, epochs=epochs, freeze=max(round(recipe.freeze * epochs / recipe.epochs), 1))


def size_for(facts: DataFacts, gpu: bool, embedded: bool) -> int:
    """Pixels a side for photographs, as suits the weights and the machine."""
    largest = 112 if embedded else 224 if gpu else 160
    return 96 if facts.small else min(largest, max(96, facts.side // 16 * 16))


def weights_for(model: str, hardware: Hardware) -> str | None:
    """The name of the weights to start from: those of `model`, or those that suit the machine, if available. None where
    `model` has none."""
    if model and model != EMBEDDED_NET:
        own = sorted((w for w in WEIGHTS.values() if w.net == model), key=lambda w: preference(w.name))
        return next((w.name for w in own if is_available(w.name)), None)
    suited = ON_GPU if hardware.device.type == "cuda" else ON_CPU
    return suited if not model and is_available(suited) else EMBEDDED


def preference(name: str) -> int:
    tag = name.split(".", 1)[1]
    return PREFERRED.index(tag) if tag in PREFERRED else len(PREFERRED)


def with_weights(recipe: Recipe, given: frozenset[str], facts: DataFacts, hardware: Hardware) -> Recipe:
    """`recipe` with the network that its weights are of, and with weights where it leaves them to the machine.

    given: the fields that the user set, which stay.
    """
    if recipe.pretrained == AUTO:
        weights = weights_for(recipe.model if "model" in given else "", hardware)
        if weights is None:  # `find` then raises an error that lists the weights
            return replace(recipe, pretrained=WEIGHTS[f"{recipe.model}.tv_v1"].name)
        recipe = replace(recipe, pretrained=weights)
    if recipe.pretrained and "model" not in given:
        recipe = replace(recipe, model=network_of(recipe.pretrained) or recipe.model)
    record = find_record(recipe.model, recipe.pretrained) if recipe.pretrained else None
    if record and record.size > models.SMALL and facts.photographs and not recipe.size and "size" not in given:
        gpu = hardware.device.type == "cuda"
        recipe = replace(recipe, size=size_for(facts, gpu, recipe.model == EMBEDDED_NET))
    return recipe


# ---------------------------------------------------------------------------------------------------------------------
# Tasks with recipes of their own


def task_recipe(task: Task, facts: DataFacts, start: Start, pretrained: str) -> Choice:
    """The task's recipe for a start, or for the weights that the user named; its steps are at least those of
    FEWEST_PASSES over the images. Of a task without pretrained weights, the recipe for the images' size."""
    weights = None if start == "scratch" else (network_of(pretrained) if pretrained else "") or ""
    recipe = find_recipe(task.recipe_name(weights, facts.side))
    if not task.pretrained:
        return Choice(recipe, "the usual recipe for their size")
    steps = max(recipe.iterations, FEWEST_PASSES[start] * facts.images // recipe.batch)
    reason = "--from-scratch was given" if start == "scratch" else "pretrained weights are a better start than none"
    return Choice(replace(recipe, iterations=steps), reason)


def for_task(recipe: Recipe, task: Task, dataset: Dataset, given: frozenset[str], hardware: Hardware) -> Recipe:
    """`recipe` with the network and size that suit the machine, and weights of its body where it leaves them open.

    given: the fields that the user set, which stay.
    """
    task.require_network(recipe.model)
    gpu = hardware.device.type == "cuda"
    if recipe.pretrained == AUTO:
        weights = weights_for(task.body_of(recipe.model) if "model" in given else "", hardware)
        recipe = replace(recipe, pretrained=weights or "", freeze_norm=bool(weights) and recipe.freeze_norm)
    if "model" not in given:
        body = network_of(recipe.pretrained) if recipe.pretrained else None
        recipe = replace(recipe, model=task.network_on(body or task.body_of(recipe.model), gpu))
    if not recipe.size and "size" not in given:
        recipe = replace(recipe, size=task.size_for(dataset, gpu))
    return recipe


# ---------------------------------------------------------------------------------------------------------------------
# Applying the choice


def configure(
    dataset: Dataset,
    recipe: Recipe | None,
    changes: Mapping[str, Any],
    start: Start,
    budget: float | None,
    hardware: Hardware,
    console: Console,
) -> Recipe:
    """The recipe to train `dataset` with: `recipe`, or the one that suits, with the fields of `changes`, its weights
    named, and cut to `budget` seconds. The choice, the reason and the alternatives are printed in three lines.

    Raises SkipwayError for a budget shorter than an epoch.
    """
    given = frozenset(changes) | (own_fields(recipe) if recipe else frozenset())
    facts, task = facts_of(require_learnable(dataset)), task_for(dataset)
    model = changes.get("model", "")
    if recipe is not None:
        choice = Choice(recipe, "")
    elif task.recipe_name(None):
        choice = task_recipe(task, facts, start, changes.get("pretrained", ""))
    elif changes.get("pretrained"):
        choice = Choice(scale_epochs(FINETUNE, facts.images), f"--pretrained {changes['pretrained']} is fine-tuned")
    else:
        choice = choose(facts, hardware, start, model)
    found = with_changes(choice.recipe, changes)
    if task.recipe_name(None):
        found = for_task(found, task, dataset, given, hardware)
        if task.own_channels and facts.grey and facts.channels == 3 and "channels" not in given:
            found = replace(found, channels=1)
    else:
        found = with_weights(found, given, facts, hardware)
    cut = ""
    if budget is not None or (choice.reason and "batch" not in given):  # printed is the batch that the run will have
        work = workload(dataset, found, facts)
        found = replace(found, batch=fitted_batch(found.batch, work.train))
    if budget is not None:
        found, cut = fit_to_budget(found, work, budget, StepTimer(hardware, dataset), given)
    if choice.reason:
        about = f"{facts.images:,} images of {facts.classes} classes, {facts.side} pixels: "
        for line in (describe_choice(found, facts), f"because: {about}{choice.reason}", alternatives(found)):
            console.print(line, soft_wrap=True, markup=False)
    if cut:
        console.print(f"budget: {cut}", soft_wrap=True, markup=False)
    return found


def own_fields(recipe: Recipe) -> frozenset[str]:
    """The fields in which `recipe` differs from the one of its name, which somebody set."""
    named = RECIPES.get(recipe.name)
    return frozenset(name for name, value in vars(recipe).items() if named is None or value != getattr(named, name))


def with_changes(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """`recipe` with the user's values; the epochs with a frozen body scale with those of the run.

    Raises SkipwayError for a length in both epochs and iterations.
    """
    both = changes.get("epochs") and changes.get("iterations")
    refuse_if(both, "--epochs and --iterations both say how long a run is", "give one of them")
    changed = replace(recipe, **{"iterations": 0, **changes} if changes.get("epochs") else changes)
    if "freeze" in changes or not recipe.freeze:
        return changed
    return replace(changed, freeze=round(recipe.freeze * changed.epochs / recipe.epochs))


def workload(dataset: Dataset, recipe: Recipe, facts: DataFacts) -> Workload:
    """The images that a run of `recipe` on `dataset` processes."""
    count = len(dataset.train)
    val = len(dataset.val) if dataset.val is not None else round(count * recipe.val)
    train = count if dataset.val is not None else count - val
    size = recipe.size or side_for(facts.side)
    network: dict[str, Any] = {"name": recipe.model, "classes": facts.classes}
    network["channels"] = recipe.channels or facts.channels
    if "stem" in task_for(dataset).network_options(recipe.model):
        network["stem"] = models.stem_for(size)
    evaluated = val + (len(dataset.test) if dataset.test is not None else 0)
    return Workload(train, val, evaluated, network, size)


def describe_choice(recipe: Recipe, facts: DataFacts) -> str:
    """The chosen recipe in one line."""
    origin = f"from {recipe.pretrained} weights" if recipe.pretrained else "from scratch"
    length = f"{recipe.iterations:,} steps" if recipe.iterations else f"{recipe.epochs} epochs"
    size = recipe.size or side_for(facts.side)
    return f"chosen: {recipe.model} {origin}, {size} pixels, batch {recipe.batch}, {length} (recipe {recipe.name})"


def alternatives(recipe: Recipe) -> str:
    """The options that change the choice, and what larger weights would bring."""
    scratch = "--from-scratch, " if recipe.pretrained else ""
    text = f"otherwise: {scratch}--recipe NAME, --model NAME, --size, --epochs, --budget 5m"
    if recipe.pretrained == EMBEDDED:
        text += f"; online, {ON_CPU} (45 MB, from 1.3 million photographs instead of 34,200) is more accurate"
    return text
