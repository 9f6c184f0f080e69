"""Verdicts."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from skipway.study.engine.experiment import Claim, Effect
from skipway.study.engine.verdicts import (
    above,
    below,
    close_to,
    combined,
    decide,
    difference,
    format_effect,
    format_mean_std,
    paired_difference,
    state_of,
)

CLAIM = Claim("c", "Deeper is worse.", "a paper", "1 %", "they differ by a point", "Deeper is better.")
STEPS = 4_000


def effect(estimate: float, half: float, seeds: int = 3, margin: float = 0.5) -> Effect:
    return Effect("error, deep - shallow", estimate, half, margin, "points", seeds)


@pytest.mark.parametrize(
    ("found", "state"),
    [
        (effect(2.0, 1.0), "supports"),
        (effect(-2.0, 1.0), "speaks against"),
        (effect(2.0, 2.5), "no difference seen"),
        (effect(-2.0, 2.5), "no difference seen"),
        (effect(0.4, 0.1), "no difference seen"),
        (effect(-0.4, 0.1), "no difference seen"),
        (effect(2.0, 1.0, seeds=2), "not trained enough to tell"),
        (effect(2.0, math.inf, seeds=1), "not trained enough to tell"),
    ],
)
def test_data_speak_for_and_against_by_the_same_rule(found: Effect, state: str) -> None:
    assert decide(CLAIM, STEPS, [found], "").state == state


@pytest.mark.parametrize(
    ("estimate", "half", "state"),
    [
        (0.1, 0.2, "supports"),
        (-0.4, 0.2, "not trained enough to tell"),
        (0.9, 0.2, "speaks against"),
        (-0.9, 0.2, "speaks against"),
        (0.0, 2.0, "not trained enough to tell"),
    ],
)
def test_a_claim_of_no_difference_needs_a_narrow_interval(estimate: float, half: float, state: str) -> None:
    assert state_of(replace(effect(estimate, half), equivalence=True)) == state


@pytest.mark.parametrize("sign", [1, -1])
def test_too_few_steps_decide_neither_for_nor_against(sign: int) -> None:
    found = decide(CLAIM, 999, [effect(9.0 * sign, 0.1)], "")
    assert found.state == "not trained enough to tell"
    assert found.reason == "999 steps of the paper's 64,000; the claim needs at least 1,000."


def test_a_claim_about_untrained_networks_is_decided_without_steps() -> None:
    claim = replace(CLAIM, fewest_steps=0, published_steps=0)
    assert decide(claim, 0, [effect(9.0, 0.1)], "").state == "supports"
    assert decide(claim, 0, [effect(-9.0, 0.1)], "").state == "speaks against"


def test_a_shortfall_decides_nothing_and_is_the_reason() -> None:
    found = decide(CLAIM, STEPS, [effect(9.0, 0.1)], "", "the networks have learnt nothing")
    assert (found.state, found.reason) == ("not trained enough to tell", "The networks have learnt nothing.")


def test_nothing_measured_decides_nothing() -> None:
    assert decide(CLAIM, STEPS, [], "").state == "not trained enough to tell"


def test_every_part_of_a_claim_must_agree_and_one_can_speak_against_it() -> None:
    assert combined(["supports", "supports"]) == "supports"
    assert combined(["supports", "no difference seen"]) == "no difference seen"
    assert combined(["supports", "not trained enough to tell", "no difference seen"]) == "not trained enough to tell"
    assert combined(["supports", "not trained enough to tell", "speaks against"]) == "speaks against"


def test_the_reason_says_how_far_from_the_paper_training_went() -> None:
    assert decide(CLAIM, STEPS, [effect(2.0, 1.0)], "").reason == (
        "They differ by a point. 4,000 steps of the paper's 64,000."
    )
    assert decide(CLAIM, 64_000, [effect(-2.0, 1.0)], "").reason == "Deeper is better. 64,000 steps."
    assert decide(CLAIM, STEPS, [effect(2.0, 1.0, seeds=2)], "").reason.startswith("2 seeds; a verdict needs 3.")


def test_the_interval_of_a_difference_is_scipys() -> None:
    lower, higher = [1.0, 1.5, 2.5, 2.0], [3.0, 4.5, 3.5]
    found = difference(lower, higher, "loss")
    interval = stats.ttest_ind(higher, lower).confidence_interval()
    assert np.allclose(
        [found.estimate - found.half_width, found.estimate + found.half_width], [interval.low, interval.high]
    )
    assert found.seeds == 3


def test_the_interval_of_a_mean_is_scipys() -> None:
    values = [1.0, 1.5, 2.5, 2.0]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    for found, sign in ((above(1.0, values, "x"), 1), (below(1.0, values, "x"), -1)):
        assert np.isclose(found.half_width, (high - low) / 2)
        assert np.isclose(found.estimate, sign * 0.75)
    paired = paired_difference([1.0, 2.0, 3.0], [1.5, 2.5, 3.5], "x")
    assert (paired.estimate, paired.half_width) == (0.5, 0.0)
    assert close_to(1.0, values, "x", 2.0).equivalence


def test_a_single_seed_has_no_interval() -> None:
    assert difference([1.0], [9.0], "x").half_width == math.inf
    assert above(1.0, [9.0], "x").half_width == math.inf


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_figures_that_are_not_finite_decide_nothing(value: float) -> None:
    for found in (difference([1.0, 2.0, value], [3.0, 4.0, 5.0], "x"), above(0.0, [1.0, 2.0, value], "x")):
        assert state_of(found) == "not trained enough to tell"
        assert "not finite" in decide(CLAIM, STEPS, [found], "").reason
    assert format_mean_std([1.0, value]).endswith("± nan (2 seeds)")


def test_effects_as_text() -> None:
    assert format_effect(effect(33.7, 0.61)) == "error, deep - shallow: +33.70 ± 0.61 points"
    assert format_effect(effect(-2.0, math.inf, seeds=1)) == "error, deep - shallow: -2.00 points"
    assert format_effect(effect(0.004, 0.0012)) == "error, deep - shallow: +0.0040 ± 0.0012 points"


def test_mean_and_sample_standard_deviation_as_text() -> None:
    assert format_mean_std([1.0, 3.0]) == "2.00 ± 1.41 (2 seeds)"
    assert format_mean_std([8.75], unit=" %") == "8.75 % (1 seed)"
