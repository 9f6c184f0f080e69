"""Study of batch normalisation."""

import math
from typing import Any

import pytest
from studied import Tiny

from skipway.study.engine.report import png
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.batchnorm import STUDY, WITH, WITHOUT, highest, share_of_steps

STEPS = 40


def net(ends: dict[str, list[float | None]], losses: list[list[float]]) -> dict[str, Any]:
    known = {rate: [math.inf if x is None else x for x in found] for rate, found in ends.items()}
    return {"ends": ends, "best": float(min(known, key=lambda rate: sum(known[rate]))), "losses": losses}


def findings(fast: float = 0.5) -> dict[str, Any]:
    """With batch norm the loss falls to `fast` at once at rate 0.1; without it reaches 1.5, only at rate 0.01."""
    normalised = net({"0.1": [fast, fast + 0.01], "0.01": [1.2, 1.2]}, [[2.3, *[fast] * (STEPS - 1)]] * 2)
    bare = net({"0.1": [None, 2.3], "0.01": [1.5, 1.51]}, [[1.5] * STEPS] * 2)
    return {
        "steps": STEPS,
        "words": "first steps",
        "guessing": 2.3026,
        "nets": {"plain20": {WITH: normalised, WITHOUT: bare}},
    }


def swapped(found: dict[str, Any]) -> dict[str, Any]:
    nets = {model: {WITH: net_[WITHOUT], WITHOUT: net_[WITH]} for model, net_ in found["nets"].items()}
    return {**found, "nets": nets}


def states(found: dict[str, Any], scale: str) -> list[str]:
    return [verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), SCALES[scale], found)]


def test_faster_learning_at_higher_rates_with_batch_norm_confirms_every_claim() -> None:
    assert states(findings(), "small") == ["holds"] * 3


def test_the_reverse_refutes_only_at_scale_paper() -> None:
    assert states(swapped(findings()), "paper") == ["does not hold"] * 3
    assert states(swapped(findings()), "small") == ["not decided"] * 3


def test_highest_rate_requires_that_every_seed_learns() -> None:
    found = net({"1.0": [0.5, None], "0.1": [0.5, 2.0], "0.01": [0.5, 0.5]}, [])
    assert highest(found, guessing=2.3) == 0.1
    assert highest(net({"1.0": [2.29, 2.3]}, []), guessing=2.3) == 0


def test_share_of_steps_to_the_final_loss_without_batch_norm() -> None:
    pair = {
        WITH: net({"0.1": [0.0]}, [[2.0] * 10 + [0.0] * 30]),
        WITHOUT: net({"0.1": [1.0]}, [[1.0] * STEPS]),
    }
    assert share_of_steps(pair, STEPS) == [pytest.approx(15 / STEPS)]  # five zeros among ten make a mean of 1
    pair[WITHOUT] = net({"0.1": [-1.0]}, [])
    assert share_of_steps(pair, STEPS) == [2.0]


def test_the_study_runs_and_decides_nothing_from_seconds(tiny: Tiny) -> None:
    result = tiny("batchnorm")
    assert {verdict.state for verdict in result.verdicts} == {"not decided"}
    assert list(result.findings["nets"]) == ["plain20", "resnet20"]
    assert len(STUDY.table(result.findings).rows) == 4
    assert png(result).startswith(b"\x89PNG")
