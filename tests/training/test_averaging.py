"""Averaged weights: what a run evaluates has left its first steps behind, however short the run is."""

import math
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from skipway.training.recipes import RECIPES, Recipe
from skipway.training.setup import fitted_batch
from skipway.training.weight_averaging import averaging, decay_after

SIZES = (20, 50, 100, 245, 1_000, 5_000, 20_000, 100_000)


def first_share(decay: float, updates: int) -> float:
    """The share of the first weights in the average after so many updates, in a closed form.

    While (1 + t) / (10 + t) is the smaller, the product of decays from t = 1 telescopes to
    n! 10! / (n + 9)! with n updates; from there on each one multiplies by `decay`.
    """
    rising = min(updates, math.ceil((10 * decay - 1) / (1 - decay))) if decay < 1 else updates
    share = Fraction(math.factorial(10))
    for factor in range(rising + 1, rising + 10):
        share /= factor
    return float(share) * decay ** (updates - rising)


def test_the_average_follows_the_closed_form() -> None:
    net = nn.Linear(1, 1, bias=False)
    averaged = AveragedModel(net, multi_avg_fn=averaging(0.95), use_buffers=True)
    nn.init.ones_(net.weight)
    averaged.update_parameters(net)  # a copy
    nn.init.zeros_(net.weight)
    for updates in range(2, 200):
        averaged.update_parameters(net)
        expected = first_share(0.95, updates)
        assert averaged.module.weight.item() == pytest.approx(expected, rel=1e-4), updates


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda r: r.name)
@pytest.mark.parametrize("images", SIZES)
def test_no_recipe_evaluates_weights_that_have_hardly_moved(recipe: Recipe, images: int) -> None:
    """The first step has under a hundredth of what is evaluated, and the average reaches back a fifth at most."""
    batch = fitted_batch(recipe.batch, images)
    steps = recipe.iterations or recipe.epochs * (images // batch)
    assert steps >= 30, "a run of fewer steps learns nothing, averaged or not"
    if not recipe.average:
        return
    assert first_share(recipe.average, steps) < 0.01
    reach, weight = 0.0, 1.0
    for back in range(min(steps - 1, 20_000)):
        decay = decay_after(steps - 1 - back, recipe.average)
        reach += back * weight * (1 - decay)
        weight *= decay
    assert reach <= steps / 5


def test_counts_of_batches_are_copied_not_averaged() -> None:
    net = nn.BatchNorm1d(2)
    averaged = AveragedModel(net, multi_avg_fn=averaging(0.9), use_buffers=True)
    for _ in range(3):
        net(torch.randn(4, 2))
        averaged.update_parameters(net)
    assert averaged.module.num_batches_tracked == net.num_batches_tracked == 3
