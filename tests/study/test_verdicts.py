"""Verdicts."""

from dataclasses import replace

import pytest

from skipway.study.engine.experiment import Claim
from skipway.study.engine.scale import SCALES
from skipway.study.engine.verdicts import all_of, decide_verdict, format_mean_std, separated

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
def test_a_scale_decides_only_what_it_can_confirm_or_refute(seen: bool | None, scale: str, state: str) -> None:
    assert decide_verdict(CLAIM, SCALES[scale], seen, "2 %").state == state


def test_a_claim_that_needs_no_long_training_is_decided_at_any_scale() -> None:
    sure = replace(CLAIM, shown_from="tiny", refuted_from="tiny")
    assert decide_verdict(sure, SCALES["tiny"], True, "").state == "holds"
    assert decide_verdict(sure, SCALES["tiny"], False, "").state == "does not hold"


def test_a_scale_reduced_by_a_budget_counts_by_its_steps() -> None:
    cut = replace(SCALES["paper"], iterations=10_000)
    assert decide_verdict(CLAIM, cut, True, "").state == "holds"
    assert "reduced to 10,000 iterations" in decide_verdict(CLAIM, cut, True, "").reason
    assert decide_verdict(CLAIM, cut, False, "").state == "not decided"
    assert decide_verdict(replace(CLAIM, shown_from="paper"), cut, True, "").state == "not decided"
    assert decide_verdict(replace(CLAIM, refuted_from="small"), cut, False, "").state == "does not hold"
    for name in ("paper", "small"):
        few = replace(SCALES[name], iterations=1000)
        for seen in (True, False):
            assert decide_verdict(replace(CLAIM, refuted_from="small"), few, seen, "").state == "not decided"


def test_an_undecided_verdict_names_the_scale_that_could_decide() -> None:
    assert "paper could" in decide_verdict(CLAIM, SCALES["small"], False, "").reason
    assert "small could" in decide_verdict(CLAIM, SCALES["tiny"], True, "").reason


def test_overlapping_or_single_seeds_are_inconclusive() -> None:
    assert separated([1.0, 2.0], [3.0, 4.0]) is True
    assert separated([3.0, 4.0], [1.0, 2.0]) is False
    assert separated([1.0, 3.0], [2.0, 4.0]) is None
    assert separated([1.0], [9.0]) is None
    assert separated([1.0, 1.1], [1.2, 1.3], least=0.5) is None


def test_all_of_is_false_before_it_is_unknown() -> None:
    assert all_of(True, True) is True
    assert all_of(True, None) is None
    assert all_of(None, False) is False


def test_mean_and_sample_standard_deviation_as_text() -> None:
    assert format_mean_std([1.0, 3.0]) == "2.00 ± 1.41 (2 seeds)"
    assert format_mean_std([8.75], unit=" %") == "8.75 % (1 seed)"
