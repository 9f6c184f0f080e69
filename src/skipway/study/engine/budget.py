"""Reduction of a study's iterations to a time budget, from the measured time of a step of each network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from skipway import models
from skipway.data.dataset import Dataset
from skipway.data.decode import channels_in
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.study.engine.experiment import Study
from skipway.study.engine.scale import Scale
from skipway.study.networks.registry import register_study_networks
from skipway.training.recipes import Recipe
from skipway.training.setup import size_of
from skipway.training.time_estimate import seconds_per_step

OVERHEAD = 1.15  # factor for augmentation, records and checkpoints around a step
FORWARD = 0.5  # share of a step's time that evaluating as many images in float32 takes


@dataclass(frozen=True)
class Cost:
    """Seconds, summed over all processes. `steps`: of all training runs; `evaluation`: of all networks at the end."""

    steps: float
    evaluation: float


def step_time(recipe: Recipe, dataset: Dataset, decided: Hardware) -> float:
    """Seconds of one step of `recipe` on random images of the data set's shape."""
    channels = channels_in(dataset.train.items[0], dataset.train.names[0])
    size = size_of(dataset, recipe, channels)
    register_study_networks()
    stem = models.stem_for(size) if "stem" in models.options_of(recipe.model) else None
    network = {"name": recipe.model, "classes": len(dataset.classes), "channels": channels, "stem": stem}
    return seconds_per_step(network | {"shortcut": recipe.shortcut or None}, recipe, size, decided)


def step_kind(recipe: Recipe) -> tuple[str, str, int, int]:
    """The fields of a recipe that determine the time of a step."""
    return recipe.model, recipe.shortcut, recipe.size, recipe.batch


def cost(recipes: Sequence[Recipe], dataset: Dataset, scale: Scale, decided: Hardware) -> Cost:
    """The total cost of `recipes`, from timing one step of each kind."""
    assert dataset.test is not None
    images = sum(min(len(split), scale.judged or len(split)) for split in (dataset.train, dataset.test))
    kinds = {step_kind(recipe): recipe for recipe in recipes}
    timed = {kind: step_time(recipe, dataset, decided) for kind, recipe in kinds.items()}
    seconds = [timed[step_kind(recipe)] for recipe in recipes]
    steps = OVERHEAD * sum(s * recipe.iterations for s, recipe in zip(seconds, recipes, strict=True))
    return Cost(steps, FORWARD * images * sum(s / recipe.batch for s, recipe in zip(seconds, recipes, strict=True)))


def fit_scale(
    study: Study, scale: Scale, seeds: int, budget: float, dataset: Dataset, decided: Hardware, jobs: int
) -> Scale:
    """`scale` with its iterations reduced so that `seeds` seeds fit into `budget` seconds.

    Raises SkipwayError if not even one step of each training run fits.
    """
    recipes = study.plan(scale)
    if not recipes:
        return scale
    whole = cost(recipes, dataset, scale, decided)
    left = budget * jobs - seeds * whole.evaluation
    share = left / (seeds * whole.steps)
    iterations = min(scale.iterations, int(scale.iterations * share))
    if iterations < 1:
        least = math.ceil(seeds * (whole.evaluation + whole.steps / scale.iterations) / jobs)
        raise SkipwayError(
            f"a budget of {budget:g} s is too small for one step of each training run of {study.name}: "
            f"{seeds} seed{'s' * (seeds > 1)} need about {least} s; increase --budget or choose a smaller --scale"
        )
    return replace(scale, iterations=iterations)
