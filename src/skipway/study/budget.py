"""A budget in time: a few steps of each network are timed, and the trainings are cut to what fits."""

import math
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from skipway import models
from skipway.data.decode import channels_in
from skipway.data.source import Source
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.study.contract import Scale, Study
from skipway.study.networks import with_study_networks
from skipway.training.prepare import size_of
from skipway.training.recipes import Recipe

TIMED, WARM = 3, 1  # steps of each network
AROUND = 1.15  # what surrounds a step: augmentation, records, checkpoints
FORWARD = 0.5  # of a step, for judging as many images in float32
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Cost:
    """Seconds on all processes together. `steps`: of every training; `judging`: of every network at the end."""

    steps: float
    judging: float


def parse(text: str) -> float:
    """ "90s", "30m" or "2h" in seconds. Raises SkipwayError."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if not found or not float(found[1]):
        raise SkipwayError(f"--budget {text} is no time: write for instance 90s, 30m or 2h")
    return float(found[1]) * UNITS[found[2]]


def seconds_per_step(recipe: Recipe, source: Source, decided: Hardware) -> float:
    """The median time of a step of `recipe` on random pixels of the shape of the images."""
    channels = channels_in(source.train.items[0], source.train.names[0])
    size = size_of(source, recipe, channels)
    with torch.random.fork_rng([]), with_study_networks():
        stem = models.stem_for(size) if "stem" in models.options_of(recipe.model) else None
        net = decided.place(
            models.build(recipe.model, len(source.classes), channels, stem, recipe.shortcut or None)
        ).train()
        images = decided.place_images(torch.randn(recipe.batch, channels, size, size))
    targets = torch.zeros(recipe.batch, dtype=torch.int64, device=decided.device)
    learner = torch.optim.SGD(net.parameters(), lr=0.0)
    seconds = []
    for _ in range(WARM + TIMED):
        start = time.perf_counter()
        with decided.autocast():
            scores = net(images)
        F.cross_entropy(getattr(scores, "scores", scores).float(), targets).backward()
        learner.step()
        learner.zero_grad()
        if decided.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM:])


def kind_of(recipe: Recipe) -> tuple[str, str, int, int]:
    """Trainings of one kind take the same time for a step."""
    return recipe.model, recipe.shortcut, recipe.size, recipe.batch


def cost(recipes: Sequence[Recipe], source: Source, scale: Scale, decided: Hardware) -> Cost:
    """What `recipes` cost together, from timing a step of each kind."""
    assert source.test is not None
    images = sum(min(len(split), scale.judged or len(split)) for split in (source.train, source.test))
    kinds = {kind_of(recipe): recipe for recipe in recipes}
    timed = {kind: seconds_per_step(recipe, source, decided) for kind, recipe in kinds.items()}
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
