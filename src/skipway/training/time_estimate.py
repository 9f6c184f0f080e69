"""Estimates the time of a run before it starts, and fits a recipe to a budget.

The time of a step is measured on a few steps with random images. The rest is added as a share: batches, checkpoints and
the like (OVERHEAD), and the evaluation in float32 at the end.
"""

import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from skipway.data.dataset import Dataset, Split
from skipway.data.loader import Batch
from skipway.data.targets import map_labels
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.tasks import task_for
from skipway.training.fused_units import fuse_units
from skipway.training.optimiser import optimisers, set_training_mode
from skipway.training.recipes import Recipe

OVERHEAD = 1.15  # of a step's time: augmentation, averaging, other programs
FORWARD = 0.35  # of a training step's time for as many images
FLOAT32 = 2.0  # time of an evaluated image in float32 over one in the run's precision
REPORT = 6.0  # seconds: plots, Grad-CAM and pages
FIXED = 6.0 + REPORT  # seconds: also imports and the check of the data
TIMED, WARM = 3, 1  # steps
FEWEST_EPOCHS, FEWEST_STEPS = 3, 150  # a budget cuts steps down to these before it makes images smaller
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
PLANNED = 0.9  # share of a budget that is planned; the rest covers what the estimate misses
SMALLER = (160, 128, 96)  # pixels a side that a budget may reduce photographs to


@dataclass(frozen=True)
class Workload:
    """The images of a run. `train`: trained on; `val`: evaluated after each epoch; `evaluated`: at the end.

    `network`: the arguments of the task's `build`; `size`: pixels a side.
    """

    train: int
    val: int
    evaluated: int
    network: dict[str, Any]
    size: int

    def at(self, size: int) -> "Workload":
        """The same on images of `size` pixels a side."""
        return replace(self, size=size)

    def steps(self, recipe: Recipe) -> int:
        """Steps of the whole run."""
        return recipe.iterations or recipe.epochs * max(self.train // recipe.batch, 1)

    def epochs(self, recipe: Recipe) -> float:
        return self.steps(recipe) * recipe.batch / self.train


def random_batch(dataset: Dataset, channels: int, recipe: Recipe, size: int, hardware: Hardware) -> Batch:
    """A batch of random pixels with targets of training images."""
    images = torch.randn(recipe.batch, channels, *task_for(dataset).canvas(dataset, size))
    targets = dataset.train.take(np.arange(recipe.batch) % len(dataset.train)).targets.tensor()
    return Batch(hardware.place_images(images), map_labels(lambda t: t.to(hardware.device), targets))


def blank_dataset(classes: int) -> Dataset:
    """A data set for classification of which only the labels are used."""
    return Dataset("blank", tuple(map(str, range(classes))), Split([b""], np.zeros(1, dtype=np.int64), ["blank"]))


def seconds_per_step(
    network: dict[str, Any], recipe: Recipe, size: int, hardware: Hardware, dataset: Dataset | None = None
) -> float:
    """The median time of a training step of `recipe` on random pixels, without the first.

    network: the arguments of the task's `build`; dataset: whose targets are learned, None for a classification. The
    global random state is not changed.
    """
    dataset = dataset or blank_dataset(network["classes"])
    own = [torch.cuda.current_device()] if hardware.device.type == "cuda" else []
    with torch.random.fork_rng(own):
        task = task_for(dataset).for_training(dataset, vars(recipe), hardware.device)
        net = hardware.place(task.build(network))
        if hardware.fused_units:
            fuse_units(net)
        batch = random_batch(dataset, network["channels"], recipe, size, hardware)
    set_training_mode(net, recipe, only_classifier=recipe.only_head)
    optimisers_ = optimisers(net, recipe)

    def forward(*inputs: Any) -> Any:
        with hardware.autocast():
            return net(*inputs)

    seconds = []
    for _ in range(WARM + TIMED):
        start = time.perf_counter()
        net.zero_grad(set_to_none=True)
        task.loss(forward, batch).losses["loss"].backward()
        for optimiser in optimisers_:
            optimiser.step()
        if hardware.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM:])


Timer = Callable[[Recipe, Workload], float]


@dataclass(frozen=True)
class StepTimer:
    """Seconds of a training step on `dataset`, measured on `hardware`."""

    hardware: Hardware
    dataset: Dataset

    def __call__(self, recipe: Recipe, work: Workload) -> float:
        return seconds_per_step(work.network, recipe, work.size, self.hardware, self.dataset)


def seconds_of(recipe: Recipe, work: Workload, step: float) -> float:
    """Seconds of the whole run, with its evaluation, when a step takes `step` seconds."""
    image = step / recipe.batch * (1.0 if recipe.only_head else FORWARD)  # a frozen body has only the forward pass
    frozen = min(recipe.freeze * (work.train // recipe.batch), work.steps(recipe))
    steps = work.steps(recipe) - (0 if recipe.only_head else (1 - FORWARD) * frozen)
    training = steps * step * OVERHEAD
    return training + work.val * work.epochs(recipe) * image + work.evaluated * image * FLOAT32 + FIXED


def fit_to_budget(
    recipe: Recipe, work: Workload, budget: float, timer: Timer, given: frozenset[str]
) -> tuple[Recipe, str]:
    """`recipe` cut so that the run takes at most `budget` seconds, and what was cut, as text ("" for nothing).

    Steps go first, down to FEWEST_EPOCHS and FEWEST_STEPS; then the size of photographs, down SMALLER; then, with
    pretrained weights, the body is frozen. Fields in `given` do not change. Raises SkipwayError when not even one
    epoch fits.
    """
    planned = PLANNED * budget
    sizes = [work.size, *(side for side in SMALLER if side < work.size and "size" not in given)]
    found: tuple[Recipe, str] | None = None
    for size in sizes:
        smaller = work.at(size)
        candidate = recipe if size == work.size else replace(recipe, size=size)
        found = cut_steps(candidate, smaller, planned, timer(candidate, smaller))
        if found and is_enough(found[0], smaller, recipe):
            return found
    if recipe.pretrained and not {"freeze", "only_head"} & given:
        head = replace(recipe, only_head=True, freeze=0)
        frozen = cut_steps(head, work, planned, timer(head, work))
        if frozen:
            return frozen[0], "; ".join(["only the classifier learns", *filter(None, [frozen[1]])])
    if found:
        return found
    needed = seconds_of(replace(recipe, iterations=max(work.train // recipe.batch, 1)), work, timer(recipe, work))
    raise SkipwayError(
        f"--budget {budget:.0f}s is too short for one epoch of {recipe.model} at {work.size} pixels, which takes about "
        f"{duration(needed)}: raise it, or choose a smaller --model or --size"
    )


def cut_steps(recipe: Recipe, work: Workload, budget: float, step: float) -> tuple[Recipe, str] | None:
    """`recipe` with as many steps as fit into `budget`, at most its own, and a text; None for less than an epoch."""
    if seconds_of(recipe, work, step) <= budget:
        return recipe, ""
    total, epoch = work.steps(recipe), max(work.train // recipe.batch, 1)
    for steps in range(total, epoch - 1, -max(total // 200, 1)):
        cut = replace(recipe, iterations=steps, freeze=recipe.freeze * steps // total)
        if seconds_of(cut, work, step) <= budget:
            break
    else:
        return None
    at = f" at {recipe.size} pixels" if recipe.size else ""
    return cut, f"{steps:,} of {total:,} steps{at}"


def is_enough(recipe: Recipe, work: Workload, whole: Recipe) -> bool:
    """Whether the cut `recipe` still learns: it has FEWEST_EPOCHS and FEWEST_STEPS, or all steps of `whole`."""
    least = max(FEWEST_EPOCHS * work.train // recipe.batch, FEWEST_STEPS)
    return work.steps(recipe) >= min(least, work.steps(whole))


def duration(seconds: float) -> str:
    """A duration as text: 45 s, 14 min, 2 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def parse_budget(text: str) -> float:
    """ "90s", "30m" or "2h" in seconds. Raises SkipwayError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if not found or not float(found[1]):
        raise SkipwayError(f"--budget {text} is not a duration: write for example 90s, 30m or 2h")
    return float(found[1]) * UNITS[found[2]]
