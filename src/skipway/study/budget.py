"""A budget in time: a few steps of each network are timed, and the trainings are cut to what fits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from skipway import models
from skipway.data.decode import channels_in
from skipway.data.source import Source
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.study.contract import Scale, Study
from skipway.study.networks import with_study_networks
from skipway.training.estimate import seconds_per_step
from skipway.training.prepare import size_of
from skipway.training.recipes import Recipe

AROUND = 1.15  # what surrounds a step: augmentation, records, checkpoints
FORWARD = 0.5  # of a step, for judging as many images in float32


@dataclass(frozen=True)
class Cost:
    """Seconds on all processes together. `steps`: of every training; `judging`: of every network at the end."""

    steps: float
    judging: float


def step_time(recipe: Recipe, source: Source, decided: Hardware) -> float:
    """Seconds of a step of `recipe` on random pixels of the shape of the images."""
    channels = channels_in(source.train.items[0], source.train.names[0])
    size = size_of(source, recipe, channels)
    with with_study_networks():
        stem = models.stem_for(size) if "stem" in models.options_of(recipe.model) else None
        network = {"name": recipe.model, "classes": len(source.classes), "channels": channels, "stem": stem}
        return seconds_per_step(network | {"shortcut": recipe.shortcut or None}, recipe, size, decided)


def kind_of(recipe: Recipe) -> tuple[str, str, int, int]:
    """Trainings of one kind take the same time for a step."""
    return recipe.model, recipe.shortcut, recipe.size, recipe.batch


def cost(recipes: Sequence[Recipe], source: Source, scale: Scale, decided: Hardware) -> Cost:
    """What `recipes` cost together, from timing a step of each kind."""
    assert source.test is not None
    images = sum(min(len(split), scale.judged or len(split)) for split in (source.train, source.test))
    kinds = {kind_of(recipe): recipe for recipe in recipes}
    timed = {kind: step_time(recipe, source, decided) for kind, recipe in kinds.items()}
    seconds = [timed[kind_of(recipe)] for recipe in recipes]
    steps = AROUND * sum(s * recipe.iterations for s, recipe in zip(seconds, recipes, strict=True))
    return Cost(steps, FORWARD * images * sum(s / recipe.batch for s, recipe in zip(seconds, recipes, strict=True)))


def fitted(
    study: Study, scale: Scale, seeds: int, budget: float, source: Source, decided: Hardware, jobs: int
) -> Scale:
    """`scale` with as many iterations, at most its own, as `budget` seconds hold for `seeds` seeds.

    Raises SkipwayError when not one step of each training fits.
    """
    recipes = study.plan(scale)
    if not recipes:
        return scale
    whole = cost(recipes, source, scale, decided)
    left = budget * jobs - seeds * whole.judging
    share = left / (seeds * whole.steps)
    iterations = min(scale.iterations, int(scale.iterations * share))
    if iterations < 1:
        least = math.ceil(seeds * (whole.judging + whole.steps / scale.iterations) / jobs)
        raise SkipwayError(
            f"a budget of {budget:g} s is too small for one step of each training of {study.name}: "
            f"with {seeds} seed{'s' * (seeds > 1)} they need about {least} s; give more, or a smaller --scale"
        )
    return replace(scale, iterations=iterations)
