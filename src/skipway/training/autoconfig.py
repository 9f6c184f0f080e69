"""A recipe for the data at hand: network, weights, size, batch and length, and why.

What decides is how many images there are, how large they are and whether they are photographs, and whether the machine
has a GPU and weights within reach. The numbers were found on validation images of three data sets
(docs/transfer.md says which, and what else was tried).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from rich.console import Console

from skipway import models
from skipway.data.decode import channels_in, decode
from skipway.data.source import Source, require_learnable
from skipway.errors import DataError
from skipway.hardware import Hardware
from skipway.models.catalogue import WEIGHTS
from skipway.models.embedded_weights import EMBEDDED
from skipway.models.embedded_weights import NETWORK as EMBEDDED_NET
from skipway.models.weights import at_hand, known, network_of
from skipway.training.estimate import StepTimer, Workload, fit_to_budget
from skipway.training.prepare import fitted_batch, side_for
from skipway.training.recipes import FAST_CIFAR, FINETUNE, MODERN, QUICK, SCRATCH, Recipe

AUTO = "auto"  # of a recipe's `pretrained`: whichever weights suit the machine
ON_GPU, ON_CPU = "resnet50.tv_v2", "resnet18.tv_v1"  # within seconds a step on either
PREFERRED = ("tv_v2", "tv_v1")  # of a network's weights

TINY = 24  # pixels; shorter sides below show no photograph
MANY_SMALL = 20_000  # small images from which on a network learns as well from scratch
MANY = 50_000  # photographs, likewise
SAMPLED = 32  # images that tell sizes and colours
GREY = 2.0  # mean difference of red, green and blue, in values of 0 to 255, up to which a picture is grey

Start = Literal["pretrained", "scratch"]


@dataclass(frozen=True)
class DataFacts:
    """What decides about a recipe. `images` to train on; `side`: the median shorter side in pixels; `grey`: no image of
    a sample has colours."""

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
        """Whether features learnt from photographs can be of use."""
        return self.channels == 3 and self.side >= TINY and not (self.grey and self.small)


@dataclass(frozen=True)
class Choice:
    """A recipe, and in words why."""

    recipe: Recipe
    why: str


def facts_of(source: Source) -> DataFacts:
    """The facts of `source` from a sample of its training images. Raises DataError when none of them can be read."""
    items, names = source.train.items, source.train.names
    places = np.linspace(0, len(items) - 1, min(SAMPLED, len(items))).astype(int)
    sides, colourful, channels = [], False, 0
    fault: DataError | None = None
    for place in places:
        try:
            channels = channels or channels_in(items[place], names[place])
            image = decode(items[place], channels, names[place])
        except DataError as unreadable:
            fault = unreadable
            continue
        sides.append(min(image.shape[1:]))
        if channels == 3:
            spread = image.float().amax(0) - image.float().amin(0)
            colourful = colourful or spread.mean().item() > GREY
    if not sides:
        raise fault or DataError(f"{source.name} has no training images: check the folder, or name another")
    return DataFacts(len(items), int(np.median(sides)), channels, len(source.classes), not colourful)


def choose(facts: DataFacts, hardware: Hardware, start: Start = "pretrained", model: str = "") -> Choice:
    """The recipe for data of `facts`. `model`: the network that the user wants; "": any."""
    gpu = hardware.device.type == "cuda"
    many = facts.images >= (MANY_SMALL if facts.small else MANY)
    if not facts.photographs:
        return small_images(facts, "they are not photographs in colour", model)
    if many and facts.small:
        return small_images(facts, "they are enough to learn from scratch", model)
    if many or start == "scratch":
        why = "they are enough to learn from scratch" if many else "--from-scratch asks for no pretrained weights"
        return from_scratch(facts, gpu, why, many, model)
    weights = weights_for(model, hardware)
    if weights is None:
        return from_scratch(facts, gpu, f"no pretrained weights of {model} are within reach", many, model)
    return finetuned(facts, gpu, weights)


def small_images(facts: DataFacts, why: str, model: str) -> Choice:
    """At the images' own size, from scratch; long for few images and short for many."""
    if facts.images < MANY_SMALL:
        recipe = replace(QUICK, flip=facts.photographs)
    else:
        recipe = replace(FAST_CIFAR, flip=facts.photographs, val=QUICK.val, small=0, small_epochs=0)
    return Choice(replace(recipe, model=model or recipe.model), why)


def from_scratch(facts: DataFacts, gpu: bool, why: str, many: bool, model: str) -> Choice:
    recipe = replace(MODERN, model="resnet50" if gpu else "resnet18") if many else SCRATCH
    return Choice(replace(recipe, model=model or recipe.model, size=size_for(facts, gpu, embedded=not many)), why)


def finetuned(facts: DataFacts, gpu: bool, weights: str) -> Choice:
    """From pretrained weights, so many epochs that few images are seen often and many are not seen too often."""
    net = network_of(weights)
    assert net is not None
    size = size_for(facts, gpu, net == EMBEDDED_NET)
    recipe = replace(lengthened(FINETUNE, facts.images), model=net, pretrained=weights, size=size)
    return Choice(recipe, "they are too few to learn as much from scratch as pretrained weights know")


def lengthened(recipe: Recipe, images: int) -> Recipe:
    """`recipe` for so many images: its epochs are for 2,000; fewer are seen more often, more not as often."""
    share = (2_000 / images) ** 0.5
    epochs = min(max(round(recipe.epochs * share), 5), 60)
    return replace(recipe, epochs=epochs, freeze=max(round(recipe.freeze * epochs / recipe.epochs), 1))


def size_for(facts: DataFacts, gpu: bool, embedded: bool) -> int:
    """Pixels a side for photographs: what the weights are best with and the machine bears."""
    most = 112 if embedded else 224 if gpu else 160
    return 96 if facts.small else min(most, max(96, facts.side // 16 * 16))


def weights_for(model: str, hardware: Hardware) -> str | None:
    """The name of the weights to start from: of `model`, or else what suits the machine; what is out of reach is not
    taken. None where `model` has none at hand."""
    if model and model != EMBEDDED_NET:
        own = sorted((w for w in WEIGHTS.values() if w.net == model), key=lambda w: preference(w.name))
        return next((w.name for w in own if at_hand(w.name)), None)
    suited = ON_GPU if hardware.device.type == "cuda" else ON_CPU
    return suited if not model and at_hand(suited) else EMBEDDED


def preference(name: str) -> int:
    tag = name.split(".", 1)[1]
    return PREFERRED.index(tag) if tag in PREFERRED else len(PREFERRED)


def with_weights(recipe: Recipe, given: frozenset[str], facts: DataFacts, hardware: Hardware) -> Recipe:
    """`recipe` with the network that its weights are of, and with weights where it leaves them to the machine.

    given: the fields that the user chose, which stay.
    """
    if recipe.pretrained == AUTO:
        weights = weights_for(recipe.model if "model" in given else "", hardware)
        if weights is None:  # `find` says what there is
            return replace(recipe, pretrained=WEIGHTS[f"{recipe.model}.tv_v1"].name)
        recipe = replace(recipe, pretrained=weights)
    if recipe.pretrained and "model" not in given:
        recipe = replace(recipe, model=network_of(recipe.pretrained) or recipe.model)
    record = known(recipe.model, recipe.pretrained) if recipe.pretrained else None
    if record and record.size > models.SMALL and facts.photographs and not recipe.size and "size" not in given:
        gpu = hardware.device.type == "cuda"
        recipe = replace(recipe, size=size_for(facts, gpu, recipe.model == EMBEDDED_NET))
    return recipe


# ---------------------------------------------------------------------------------------------------------------------
# Carried out


def configure(
    source: Source,
    recipe: Recipe | None,
    changes: Mapping[str, Any],
    start: Start,
    budget: float | None,
    hardware: Hardware,
    console: Console,
) -> Recipe:
    """The recipe that `source` is trained by: `recipe`, or else what suits, with the fields of `changes`, its weights
    named, and cut to `budget` seconds. What was chosen, why, and how to choose otherwise is printed in three lines.

    Raises SkipwayError for a budget that does not hold an epoch.
    """
    given = frozenset(changes)
    facts = facts_of(require_learnable(source))
    model = changes.get("model", "")
    choice = Choice(recipe, "") if recipe else choose(facts, hardware, start, model)
    if recipe is None and changes.get("pretrained"):
        choice = Choice(lengthened(FINETUNE, facts.images), f"--pretrained {changes['pretrained']} is to be fine-tuned")
    found = with_weights(with_changes(choice.recipe, changes), given, facts, hardware)
    cut = ""
    if budget is not None:
        work = workload(source, found, facts)
        found = replace(found, batch=fitted_batch(found.batch, work.train))
        timer = StepTimer(hardware)
        found, cut = fit_to_budget(found, work, budget, timer, given)
    if choice.why:
        counted = f"{facts.images:,} images of {facts.classes} classes, {facts.side} pixels: "
        for line in (describe_choice(found, facts), f"because: {counted}{choice.why}", otherwise(found)):
            console.print(line, soft_wrap=True, markup=False)
    if cut:
        console.print(f"budget: {cut}", soft_wrap=True, markup=False)
    return found


def with_changes(recipe: Recipe, changes: Mapping[str, Any]) -> Recipe:
    """`recipe` with the user's values; the epochs in which the body is frozen follow those of the run."""
    changed = replace(recipe, **changes)
    if "freeze" in changes or not recipe.freeze:
        return changed
    return replace(changed, freeze=round(recipe.freeze * changed.epochs / recipe.epochs))


def workload(source: Source, recipe: Recipe, facts: DataFacts) -> Workload:
    """What a run of `recipe` on `source` computes on."""
    count = len(source.train)
    val = len(source.val) if source.val is not None else round(count * recipe.val)
    train = count if source.val is not None else count - val
    size = recipe.size or side_for(facts.side)
    network: dict[str, Any] = {"name": recipe.model, "classes": facts.classes}
    network["channels"] = recipe.channels or facts.channels
    if "stem" in models.options_of(recipe.model):
        network["stem"] = models.stem_for(size)
    judged = val + (len(source.test) if source.test is not None else 0)
    return Workload(train, val, judged, network, size)


def describe_choice(recipe: Recipe, facts: DataFacts) -> str:
    """What was chosen."""
    origin = f"from {recipe.pretrained} weights" if recipe.pretrained else "from scratch"
    length = f"{recipe.iterations:,} steps" if recipe.iterations else f"{recipe.epochs} epochs"
    size = recipe.size or side_for(facts.side)
    return f"chosen: {recipe.model} {origin}, {size} pixels, batch {recipe.batch}, {length} (recipe {recipe.name})"


def otherwise(recipe: Recipe) -> str:
    """How to choose otherwise, and what larger weights would bring."""
    scratch = "--from-scratch, " if recipe.pretrained else ""
    text = f"otherwise: {scratch}--recipe NAME, --model NAME, --size, --epochs, --budget 5m"
    if recipe.pretrained == EMBEDDED:
        text += f"; with a network, {ON_CPU} (45 MB, from 1.3 million photographs instead of 34,200) reaches more"
    return text
