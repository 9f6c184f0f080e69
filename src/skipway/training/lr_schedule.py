"""Learning rate schedules: a multiple of the peak rate for each fraction of the run."""

import bisect
import math

from skipway.training.recipes import Recipe

POLY = 0.9  # power


def lr_multiplier(recipe: Recipe, done: float) -> float:
    """The learning rate at the fraction `done` (0 to 1) of the run, as a multiple of `recipe.peak_rate()`."""
    if recipe.schedule == "step":
        return recipe.factors[bisect.bisect_right(recipe.milestones, done)]
    if done < recipe.warmup:
        return warmup(recipe, done / recipe.warmup)
    left = (1 - done) / (1 - recipe.warmup)
    if recipe.schedule == "poly":  # Chen 2017 (arXiv:1606.00915), sec. 4.1
        return left**POLY
    return left if recipe.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2


def warmup(recipe: Recipe, share: float) -> float:
    """The warm-up from near 0: linear (Goyal 2017), or for one-cycle half a cosine from 1/25 (Smith 2018)."""
    if recipe.schedule == "onecycle":
        return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * share)) / 2
    return max(share, 1e-3)
