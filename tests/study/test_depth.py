"""Study of depth."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from studied import Tiny

from skipway.study.engine.report import png
from skipway.study.engine.scale import SCALES, training
from skipway.study.experiments import degradation
from skipway.study.experiments.depth import LADDER, STUDY

FULL = {"resnet20": 8.75, "resnet32": 7.51, "resnet44": 7.17, "resnet56": 6.97}
DEEP = {"resnet110": 6.43, "resnet1202": 7.93, "preresnet164": 5.46, "preresnet1001": 4.92}
OTHER_WAY = {"resnet110": 6.43, "resnet1202": 5.0, "preresnet164": 7.5, "preresnet1001": 9.0}
PAPER = 64_000
EVERY = len(STUDY.claims)


def seeds(test: float, train: float, spread: float = 0.01, count: int = 3) -> list[dict[str, Any]]:
    return [
        {"seed": i, "running": train + s, "train": train + s, "test": test + s, "diverged": ""}
        for i, s in enumerate(spread * (i - (count - 1) / 2) for i in range(count))
    ]


def findings(
    full: dict[str, float],
    warmed: dict[str, float],
    deep_train: float,
    loss: float,
    spread: float = 0.01,
    count: int = 3,
    steps: int = PAPER,
    started: int = 500,
) -> dict[str, Any]:
    """Errors by network (of 20 to 56 layers, training and test errors differ by 6 points), and the loss of networks of
    a thousand layers after their first steps."""
    losses = {
        model: [[2.3, *[loss + spread * i] * (started - 1)] for i in range(count)]
        for model in ("resnet1202", "preresnet1001")
    }
    return {
        "nets": {
            "full": {model: seeds(error, error - 6, spread, count) for model, error in full.items()},
            "warmed": {model: seeds(error, deep_train, spread, count) for model, error in warmed.items()},
        },
        "lengths": {"full": steps, "warmed": steps},
        "starts": {"steps": started, "guessing": 2.3, "words": "first steps", "losses": losses},
    }


def states(found: dict[str, Any]) -> dict[str, str]:
    return {verdict.claim: verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), PAPER, found)}


def test_the_papers_own_errors_support_every_claim() -> None:
    assert set(states(findings(FULL, DEEP, deep_train=0.05, loss=1.5)).values()) == {"supports"}


def test_errors_that_grow_with_depth_and_networks_that_learn_nothing_speak_against_every_claim() -> None:
    reversed_ = dict(zip(FULL, reversed(FULL.values()), strict=True))
    found = findings(reversed_, OTHER_WAY, deep_train=90.0, loss=2.3)
    assert set(states(found).values()) == {"speaks against"}


def test_equal_errors_show_no_difference() -> None:
    found = findings(dict.fromkeys(FULL, 8.0), dict.fromkeys(DEEP, 7.0), deep_train=80.0, loss=2.1, spread=0.05)
    found["starts"]["losses"] = {"resnet1202": [[2.05] * 500, [2.1] * 500, [2.15] * 500]}
    decided = states(found)
    assert decided.pop("thousand") == "speaks against"  # 80 % is not below 1 %
    assert set(decided.values()) == {"no difference seen"}


@pytest.mark.parametrize(("warmed", "loss"), [(DEEP, 1.5), (OTHER_WAY, 2.3)])
@pytest.mark.parametrize(("count", "steps", "started"), [(2, PAPER, 500), (1, PAPER, 500), (3, 999, 499)])
def test_few_seeds_or_steps_decide_neither_way(
    warmed: dict[str, float], loss: float, count: int, steps: int, started: int
) -> None:
    found = findings(FULL, warmed, deep_train=0.05, loss=loss, count=count, steps=steps, started=started)
    assert set(states(found).values()) == {"not trained enough to tell"}


def test_claims_on_the_end_of_training_need_a_long_one() -> None:
    decided = states(findings(FULL, DEEP, deep_train=0.05, loss=1.5, steps=4_000))
    undecided = {claim for claim, state in decided.items() if state == "not trained enough to tell"}
    assert undecided == {"training", "test", "thousand", "overfits", "pre-activation"}


def test_one_deeper_network_with_a_higher_error_speaks_against_the_ladder() -> None:
    found = states(findings({**FULL, "resnet44": 7.9}, DEEP, deep_train=0.05, loss=1.5))
    assert found["test"] == found["training"] == "speaks against"


def test_what_is_not_trained_is_not_decided() -> None:
    found = findings({"resnet20": 9.0, "resnet56": 8.0}, {"resnet110": 6.4, "preresnet164": 5.5}, 0.05, loss=1.5)
    decided = states(found)
    undecided = {claim for claim, state in decided.items() if state == "not trained enough to tell"}
    assert undecided == {"training", "test", "thousand", "overfits", "pre-activation"}


def test_a_diverged_network_has_not_converged_whatever_its_previous_error() -> None:
    found = findings(FULL, DEEP, deep_train=0.05, loss=1.5)
    for run in found["nets"]["warmed"]["resnet110"]:
        run.update(running=60.0, train=90.0, test=90.0, diverged="a weight became NaN or infinite")
    converges = STUDY.decide_claims(STUDY.claims_by_name(), PAPER, found)[2]
    assert converges.state == "speaks against"
    assert "resnet110 90.00 ± 0.00 % (3 seeds) (3 of 3 diverged)" in converges.measured


def test_a_loss_that_is_not_finite_does_not_count_as_learning() -> None:
    found = findings(FULL, DEEP, deep_train=0.05, loss=1.5)
    found["starts"]["losses"]["resnet1202"] = [[], [], []]
    assert states(found)["beginning"] == "speaks against"


def test_scale_small_shares_the_runs_of_degradation() -> None:
    shared = degradation.trainings(degradation.CIFAR, SCALES["small"])
    assert {shared["resnet20"], shared["resnet56"]} <= set(STUDY.plan(SCALES["small"]))


def test_scale_paper_has_every_depth_of_the_papers_and_its_recipes() -> None:
    recipes = STUDY.plan(SCALES["paper"])
    assert {recipe.model for recipe in recipes} == {*FULL, *DEEP}
    assert {training(SCALES["paper"], model) for model in LADDER} <= set(recipes)


def test_deep_networks_start_with_400_steps_at_a_tenth_of_the_rate() -> None:
    for scale in ("small", "paper"):
        deep = [recipe for recipe in STUDY.plan(SCALES[scale]) if recipe.model in ("resnet110", "preresnet164")]
        assert [round(recipe.milestones[0] * recipe.iterations) for recipe in deep] == [400, 400]
        assert [recipe.factors[:2] for recipe in deep] == [(0.1, 1.0)] * 2


def test_the_study_runs_and_decides_nothing_from_seconds(tiny: Tiny) -> None:
    result = tiny("depth")
    assert {verdict.state for verdict in result.verdicts} == {"not trained enough to tell"}
    assert [row[:3] for row in STUDY.table(result.findings).rows] == [
        ("resnet20", "20", "4"),
        ("resnet56", "56", "4"),
    ]
    assert [len(losses) for losses in result.findings["starts"]["losses"]["resnet56"]] == [2]
    assert png(result).startswith(b"\x89PNG")


def test_the_errors_of_every_length_of_training_and_the_first_steps_are_drawn() -> None:
    figure = Figure()
    STUDY.draw(findings(FULL, DEEP, 0.1, 0.5), figure)
    drawn = [axes.get_title(loc="left") for axes in figure.axes]
    assert drawn == ["64,000 steps", "64,000 steps", "first steps"]
    for axes, errors in zip(figure.axes, (FULL, DEEP), strict=False):
        heights = {round(float(y), 2) for line in axes.get_lines() for y in np.asarray(line.get_ydata())}
        assert {round(error, 2) for error in errors.values()} <= heights
