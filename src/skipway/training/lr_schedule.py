"""Learning rate schedules: a multiple of the peak rate for each fraction of the run."""

import bisect
import math

from skipway.training.recipes import Recipe

POLY = 0.9  # power
DECAYED = 1 / 3  # share of the run over which wsd falls


def lr_multiplier(recipe: Recipe, done: float) -> float:
    """The learning rate at the fraction `done` (0 to 1) of the run, as a multiple of `recipe.peak_rate()`."""
    if recipe.schedule == "step":
        return recipe.factors[bisect.bisect_right(recipe.milestones, done)]
    if done < recipe.warmup:
        return warmup(recipe, done / recipe.warmup)
    if recipe.schedule == "wsd":  # warm-up, stable, decay (Hu 2024, arXiv:2404.06395, sec. 4)
        return min((1 - done) / DECAYED, 1.0)
    left = (1 - done) / (1 - recipe.warmup)
    if recipe.schedule == "poly":  # Chen 2017 (arXiv:1606.00915), sec. 4.1
        return left**POLY
    return left if recipe.schedule == "linear" else (1 - math.cos(math.pi * left)) / 2


def warmup(recipe: Recipe, share: float) -> float:
    """The warm-up from near 0: linear (Goyal 2017), or for one-cycle half a cosine from 1/25 (Smith 2018)."""
    if recipe.schedule == "onecycle":
        return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * share)) / 2
    return max(share, 1e-3)
