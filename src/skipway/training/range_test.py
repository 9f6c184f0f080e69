"""The learning-rate range test: the loss of a few steps whose rate grows from one to the next.

Smith: Cyclical Learning Rates for Training Neural Networks. WACV 2017, arXiv:1506.01186, sec. 3.3. Exponential growth
and both suggestions are after fastai's `lr_find` (Howard, Gugger 2020, arXiv:2002.04688), with a shorter smoothing and
without what follows the least loss.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from skipway.data.dataset import Dataset
from skipway.data.loader import Batch, derive_seed
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.training.distributed import SINGLE_PROCESS
from skipway.training.mixup import mix_batch
from skipway.training.optimiser import set_rate, set_training_mode
from skipway.training.recipe_fields import validate_recipe
from skipway.training.recipes import Recipe
from skipway.training.run_manifest import DEFAULT_OPTIONS
from skipway.training.setup import require_steps, setup_training
from skipway.training.step import gradients, update_weights
from skipway.training.train_state import TrainRun, TrainState, fresh_state

SMOOTHING = 0.9  # of the losses, an exponential mean
DIVERGED = 4.0  # times the least loss so far: the test ends there
SKIPPED = 0.1  # the first share of the points, which suggestions do not use
FEWEST = 20  # steps


@dataclass(frozen=True)
class RateTest:
    """What was measured. rates: of the recipe's field `lr`; losses: smoothed; steepest, valley: suggested rates;
    lr: the recipe's own; batch, lr_batch: images a step, and those that rates are given for."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    steepest: float
    valley: float
    lr: float
    batch: int
    lr_batch: int


def range_test(
    dataset: Dataset, recipe: Recipe, hardware: Hardware, console: Console, low: float, high: float, steps: int
) -> RateTest:
    """Train `recipe.model` for at most `steps` steps, with rates from `low` to `high`, and throw the network away.

    All layers learn from the first step on that do at the end of a run. Nothing is written. Raises SkipwayError for
    what cannot be trained, or a loss that is not finite from the start.
    """
    if not 0 < low < high:
        raise SkipwayError(f"--low must be above 0 and below --high, and they are {low:g} and {high:g}")
    if steps < FEWEST:
        raise SkipwayError(f"--steps must be at least {FEWEST}, not {steps}")
    recipe = validate_recipe(recipe)
    own = [torch.cuda.current_device()] if hardware.device.type == "cuda" else []
    with torch.random.fork_rng(own):
        torch.manual_seed(derive_seed(recipe.seed))
        setup = setup_training(dataset, recipe, hardware, console)
        run = TrainRun(setup, hardware, SINGLE_PROCESS, DEFAULT_OPTIONS, require_steps(setup), {}, Path(), console)
        rates = np.geomspace(low, high, steps)
        losses = smoothed_losses(run, fresh_state(run), rates)
    if len(losses) < FEWEST:
        raise SkipwayError(
            f"the loss was more than {DIVERGED:g} times its least value after {len(losses)} steps: lower --low"
        )
    rates, fitted = rates[: len(losses)], setup.recipe
    first = int(len(losses) * SKIPPED)
    used = slice(first, max(int(losses.argmin()) + 1, first + 2))
    steepest, valley = suggest(rates[used], losses[used])
    return RateTest(
        tuple(rates.tolist()), tuple(losses.tolist()), steepest, valley, fitted.lr, fitted.batch, fitted.lr_batch
    )


def smoothed_losses(run: TrainRun, state: TrainState, rates: np.ndarray) -> np.ndarray:
    """The smoothed loss of a step at each of `rates`, until it has diverged."""
    recipe, found, mean, least = run.setup.recipe, [], 0.0, math.inf
    set_training_mode(state.net, recipe, only_classifier=recipe.only_head)
    for step, (rate, batch) in enumerate(zip(rates, endless_batches(run), strict=False), 1):
        set_rate(state.optimisers, float(rate) * recipe.batch / recipe.lr_batch)
        loss = gradients(run, state, batch, counted=False)[0].item()
        if not math.isfinite(loss):
            break
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed = mean / (1 - SMOOTHING**step)
        found.append(smoothed)
        least = min(least, smoothed)
        if smoothed > DIVERGED * least:
            break
        update_weights(run, state)
        state.step += 1
    return np.array(found)


def endless_batches(run: TrainRun) -> Iterator[Batch]:
    """The batches of one epoch after the other, mixed where the recipe mixes."""
    setup = run.setup
    for epoch in count():
        for batch in setup.batches.epoch(epoch):
            batch = batch._replace(images=run.hardware.place_images(batch.images))
            if setup.recipe.mixup or setup.recipe.cutmix:
                batch = mix_batch(batch, setup.task.soft_targets(batch.targets), setup.recipe)
            yield batch


def suggest(rates: np.ndarray, losses: np.ndarray) -> tuple[float, float]:
    """The rate at which the loss falls fastest over log(rate), and the middle of the longest valley: of the longest
    sequence of points, not necessarily neighbours, whose losses fall."""
    steepest = rates[np.gradient(losses, np.log(rates)).argmin()]
    lengths = np.ones(len(losses), dtype=int)
    for i in range(1, len(losses)):
        before = lengths[:i][losses[:i] > losses[i]]
        lengths[i] = before.max(initial=0) + 1
    end = int(lengths.argmax())
    return float(steepest), float(rates[max(end - lengths[end] // 2, 0)])
