"""A run's time told beforehand, and recipes fitted to a budget."""

import math
from dataclasses import replace

import pytest

from skipway import hardware
from skipway.errors import SkipwayError
from skipway.training.recipes import FINETUNE, SCRATCH, Recipe
from skipway.training.time_estimate import (
    FIXED,
    OVERHEAD,
    PLANNED,
    Workload,
    duration,
    fit_to_budget,
    parse_budget,
    seconds_of,
    seconds_per_step,
)

NETWORK = {"name": "resnet18d_x0_5", "classes": 2, "channels": 3, "stem": "imagenet"}
WORK = Workload(train=1_000, val=100, evaluated=200, network=NETWORK, size=224)
TUNED = replace(FINETUNE, pretrained="embedded", epochs=20, batch=25, freeze=2)


def timed(recipe: Recipe, work: Workload) -> float:
    """A machine that takes a second for a step of 224 pixels, in proportion to pixels; a third of it with a frozen
    body."""
    return (work.size / 224) ** 2 * (0.35 if recipe.only_head else 1.0)


def spent(recipe: Recipe) -> float:
    work = WORK.at(recipe.size or WORK.size)
    return seconds_of(recipe, work, timed(recipe, work))


def test_the_time_is_that_of_the_steps_and_of_what_is_evaluated() -> None:
    recipe = replace(SCRATCH, iterations=400, batch=25)
    steps = 400 * 1.0 * OVERHEAD
    forward = 0.35 / 25  # a second, per image
    val, judged = 100 * 10 * forward, 200 * forward * 2
    assert spent(recipe) == pytest.approx(steps + val + judged + FIXED)


def test_a_budget_that_suffices_changes_nothing() -> None:
    assert fit_to_budget(TUNED, WORK, 1e6, timed, frozenset()) == (TUNED, "")


@pytest.mark.parametrize("budget", [40, 60, 100, 200, 400, 800])
def test_what_is_fitted_to_a_budget_keeps_it_and_uses_it(budget: float) -> None:
    fitted, said = fit_to_budget(TUNED, WORK, budget, timed, frozenset())
    assert spent(fitted) <= PLANNED * budget
    assert said
    longer = replace(fitted, iterations=math.ceil(fitted.iterations * 1.05) + 2)
    assert spent(longer) > PLANNED * budget or (fitted.only_head and not fitted.iterations)


def test_steps_go_first_then_pixels_then_the_body_is_frozen() -> None:
    found = [fit_to_budget(TUNED, WORK, budget, timed, frozenset())[0] for budget in (500, 150, 40)]
    assert [(r.size, r.only_head) for r in found] == [
        (0, False),
        (found[1].size, False),
        (found[2].size, found[2].only_head),
    ]
    assert 0 < found[1].size < 224
    assert found[2].only_head


def test_what_the_user_gave_stays() -> None:
    fitted, _ = fit_to_budget(TUNED, WORK, 150, timed, frozenset({"size", "only_head"}))
    assert fitted.size == 0 and not fitted.only_head


def test_a_budget_of_less_than_an_epoch_is_refused_with_what_is_needed() -> None:
    with pytest.raises(SkipwayError, match=r"--budget 13s is too short for one epoch of resnet18d_x0_5.*about"):
        fit_to_budget(replace(SCRATCH, batch=25), WORK, 13, timed, frozenset())


def test_a_measured_step_takes_longer_for_more_pixels() -> None:
    cpu = hardware.decide(device="cpu", workers=0)
    recipe = replace(SCRATCH, batch=8)
    small, large = (seconds_per_step(NETWORK, recipe, size, cpu) for size in (32, 160))
    assert 0 < small < large


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1.5m", 90), ("2h", 7200)])
def test_a_budget_is_read(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.4, "7 s"), (89, "89 s"), (95, "2 min"), (3600, "60 min"), (7500, "2 h 5 min")]
)
def test_durations_are_said_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text
