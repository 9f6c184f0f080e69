"""What may be said of a claim."""

from dataclasses import replace

import pytest

from skipway.study.contract import SCALES, Claim
from skipway.study.verdicts import all_of, apart, settle, spread

CLAIM = Claim("c", "Deeper is worse.", "a paper", "1 %", "by a point", "Deeper is better.", "small", "paper")


@pytest.mark.parametrize(
    ("seen", "scale", "state"),
    [
        (True, "tiny", "not decided"),
        (True, "small", "holds"),
        (True, "paper", "holds"),
        (False, "tiny", "not decided"),
        (False, "small", "not decided"),
        (False, "paper", "does not hold"),
        (None, "paper", "not decided"),
    ],
)
def test_a_verdict_says_no_more_than_the_scale_can(seen: bool | None, scale: str, state: str) -> None:
    assert settle(CLAIM, SCALES[scale], seen, "2 %").state == state


def test_a_claim_that_needs_no_long_training_is_decided_at_any_scale() -> None:
    sure = replace(CLAIM, shown_from="tiny", refuted_from="tiny")
    assert settle(sure, SCALES["tiny"], True, "").state == "holds"
    assert settle(sure, SCALES["tiny"], False, "").state == "does not hold"


def test_a_scale_cut_by_a_budget_is_worth_the_steps_that_are_left() -> None:
    cut = replace(SCALES["paper"], iterations=10_000)
    assert settle(CLAIM, cut, True, "").state == "holds"
    assert "cut to 10,000 iterations" in settle(CLAIM, cut, True, "").reason
    assert settle(CLAIM, cut, False, "").state == "not decided"
    assert settle(replace(CLAIM, shown_from="paper"), cut, True, "").state == "not decided"
    assert settle(replace(CLAIM, refuted_from="small"), cut, False, "").state == "does not hold"
    for name in ("paper", "small"):
        few = replace(SCALES[name], iterations=1000)
        for seen in (True, False):
            assert settle(replace(CLAIM, refuted_from="small"), few, seen, "").state == "not decided"


def test_an_undecided_verdict_names_the_scale_that_could_tell() -> None:
    assert "paper could" in settle(CLAIM, SCALES["small"], False, "").reason
    assert "small could" in settle(CLAIM, SCALES["tiny"], True, "").reason


def test_seeds_that_overlap_or_are_alone_tell_nothing() -> None:
    assert apart([1.0, 2.0], [3.0, 4.0]) is True
    assert apart([3.0, 4.0], [1.0, 2.0]) is False
    assert apart([1.0, 3.0], [2.0, 4.0]) is None
    assert apart([1.0], [9.0]) is None
    assert apart([1.0, 1.1], [1.2, 1.3], least=0.5) is None


def test_all_of_is_false_before_it_is_unknown() -> None:
    assert all_of(True, True) is True
    assert all_of(True, None) is None
    assert all_of(None, False) is False


def test_spread_is_the_sample_deviation() -> None:
    assert spread([1.0, 3.0]) == "2.00 ± 1.41 (2 seeds)"
    assert spread([8.75], unit=" %") == "8.75 % (1 seed)"
