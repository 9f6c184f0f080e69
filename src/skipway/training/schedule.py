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
    return (1 + math.cos(math.pi * (done - recipe.warmup) / (1 - recipe.warmup))) / 2


def rise(recipe: Recipe, share: float) -> float:
    """The warm-up from near 0: linear for cosine (Goyal 2017), a half cosine from 1/25 for one-cycle (Smith 2018)."""
    if recipe.schedule == "cosine":
        return max(share, 1e-3)
    return 1 / 25 + (1 - 1 / 25) * (1 - math.cos(math.pi * share)) / 2
