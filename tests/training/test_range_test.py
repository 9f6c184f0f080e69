"""The learning-rate range test: what it suggests, and that it leaves nothing behind."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small import CPU, QUIET, SHORT, few_digits

import skipway
from skipway.errors import SkipwayError
from skipway.training.range_test import RateTest, range_test, suggest


@pytest.fixture(scope="module")
def measured() -> RateTest:
    return range_test(few_digits(), SHORT, CPU, QUIET, 1e-3, 10.0, 20)


def test_the_steepest_point_of_a_known_curve_is_found() -> None:
    """A sigmoid over log(rate) falls fastest in its middle, and falls over its whole length."""
    rates = np.geomspace(1e-4, 1, 41)
    losses = 1 / (1 + np.exp(3 * (np.log(rates) - math.log(1e-2))))
    steepest, valley = suggest(rates, losses)
    assert steepest == pytest.approx(1e-2, rel=0.01)
    assert valley == pytest.approx(1e-2, rel=0.3)


def test_the_valley_is_the_longest_fall_though_noise_interrupts_it() -> None:
    rates = np.arange(1.0, 13.0)
    losses = np.array([5, 4, 5, 9, 8, 8.5, 7, 6, 6.5, 5, 4, 3.0])  # falls from the fourth on, but for two points
    assert rates[4] <= suggest(rates, losses)[1] <= rates[9]


def test_rates_grow_by_equal_factors_and_the_loss_begins_at_chance(measured: RateTest) -> None:
    factors = np.diff(np.log(measured.rates))
    np.testing.assert_allclose(factors, math.log(10.0 / 1e-3) / 19)
    assert measured.losses[0] == pytest.approx(math.log(10), abs=0.4)
    assert measured.steepest in measured.rates
    assert measured.valley in measured.rates


def test_the_same_seed_measures_the_same(measured: RateTest) -> None:
    torch.manual_seed(1)
    assert range_test(few_digits(), SHORT, CPU, QUIET, 1e-3, 10.0, 20) == measured


def test_the_first_loss_is_that_of_the_first_step_of_a_training(tmp_path: Path, measured: RateTest) -> None:
    run = skipway.train(few_digits(), replace(SHORT, epochs=0, iterations=1), tmp_path / "run", CPU)
    assert measured.losses[0] == pytest.approx(run.history[0]["train_loss"], rel=1e-6)


def test_nothing_is_left_but_the_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    skipway.find_lr(few_digits(), SHORT, hardware=CPU, steps=20, low=1e-3, plot="rates.svg")
    assert [file.name for file in tmp_path.iterdir()] == ["rates.svg"]
    assert "<svg" in (tmp_path / "rates.svg").read_text()
    with pytest.raises(SkipwayError, match=r"rates.svg exists: choose another --plot"):
        skipway.find_lr(few_digits(), SHORT, hardware=CPU, plot="rates.svg")


@pytest.mark.parametrize(
    ("low", "high", "steps", "said"),
    [
        (1.0, 0.1, 20, "--low must be above 0 and below --high"),
        (0.0, 0.1, 20, "--low must be above 0"),
        (1e-3, 1.0, 3, "--steps must be at least 20, not 3"),
        (1e3, 1e6, 20, "lower --low"),
    ],
)
def test_a_test_that_cannot_be_is_refused(low: float, high: float, steps: int, said: str) -> None:
    with pytest.raises(SkipwayError, match=said):
        range_test(few_digits(), SHORT, CPU, QUIET, low, high, steps)
