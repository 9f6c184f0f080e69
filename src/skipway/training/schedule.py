"""The learning rate over a run, as a function from the share done to a multiple of the peak rate."""

import bisect
import math

from skipway.training.recipes import Recipe


def factor(recipe: Recipe, done: float) -> float:
    """The rate at `done` (0 to 1) of the run, as a multiple of `recipe.peak_rate()`."""
    if recipe.schedule == "step":
        return recipe.factors[bisect.bisect_right(recipe.milestones, done)]
    if done < recipe.warmup:
        return rise(recipe, done / recipe.warmup)
    left = (1 - done) / (1 - recipe.warmup)
    return left if recipe.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2


def rise(recipe: Recipe, share: float) -> float:
    """The warm-up from near 0: linear (Goyal 2017), or for one-cycle half a cosine from 1/25 (Smith 2018)."""
    if recipe.schedule == "onecycle":
        return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * share)) / 2
    return max(share, 1e-3)
