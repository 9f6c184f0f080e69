"""Averaged weights: what a run evaluates has left its first steps behind, however short the run is."""

import math
from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from skipway.training.recipes import RECIPES, Recipe
from skipway.training.setup import fitted_batch
from skipway.training.weight_averaging import averaging, decay_after, exponent_of, power_averaging

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


@pytest.mark.parametrize(("width", "exponent"), [(0.10, 6.94), (0.05, 16.97)])
def test_the_power_function_has_the_exponents_of_the_paper(width: float, exponent: float) -> None:
    """Karras 2024, arXiv:2312.02696, sec. 3.1."""
    assert exponent_of(width) == pytest.approx(exponent, abs=0.01)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.2])
def test_a_power_average_weighs_the_steps_by_a_power_of_their_number(width: float) -> None:
    """The weights of n steps are t^g / sum of t^g, up to the sum's difference from an integral; their deviation is the
    relative width, whatever n is."""
    for steps in (100, 800):
        net = nn.Linear(steps, 1, bias=False)
        averaged = AveragedModel(net, multi_avg_fn=power_averaging(width))
        for step in range(steps):  # the weights of each step are a unit vector of its own
            with torch.no_grad():
                net.weight.zero_()[0, step] = 1
            averaged.update_parameters(net)
        weights = averaged.module.weight[0].double().detach()
        times = torch.arange(1, steps + 1) / steps
        assert weights.sum() == pytest.approx(1, abs=1e-4)
        mean = (weights * times).sum()
        assert ((weights * (times - mean) ** 2).sum()).sqrt() == pytest.approx(width, rel=0.03)
