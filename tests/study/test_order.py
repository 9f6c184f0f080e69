"""Study of the order of activations."""

from typing import Any

import pytest
from studied import Tiny

from skipway.study.engine.report import png
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.activation_order import DEEPEST, FULL, ORDERS, ORIGINAL, STUDY
from skipway.study.probes.early_training import DEEP_STARTS, FirstSteps

PAPER = {layers: {label: float(e[layers]) for label, (_, e) in ORDERS.items() if layers in e} for layers in (110, 164)}
PAPER[DEEPEST] = {ORIGINAL: 7.61, FULL: 4.92}
OTHER_WAY = {
    layers: {label: errors[ORIGINAL] + 2 * (errors[ORIGINAL] - error) for label, error in errors.items()}
    for layers, errors in PAPER.items()
}
OTHER_WAY[110]["ReLU-only pre-activation"] = 8.0
EVERY = len(STUDY.claims)


def seeds(error: float, spread: float, count: int) -> list[dict[str, Any]]:
    """Seeds of a network with all errors close to `error`."""
    return [
        {"seed": i, "running": e, "train": e, "test": e, "diverged": ""}
        for i, e in enumerate(error + spread * (i - (count - 1) / 2) for i in range(count))
    ]


def findings(
    errors: dict[int, dict[str, float]],
    losses: tuple[float, float],
    spread: float = 0.01,
    count: int = 3,
    steps: int = 4_000,
    started: int = 500,
) -> dict[str, Any]:
    """These test errors by depth, and the losses of original and full pre-activation after the first steps."""
    nets = [
        {
            "layers": layers,
            "steps": steps,
            "nets": {label: seeds(error, spread, count) for label, error in orders.items()},
        }
        for layers, orders in errors.items()
    ]
    curves = {
        label: [[loss + spread * i] * started for i in range(count)]
        for label, loss in zip((ORIGINAL, FULL), losses, strict=True)
    }
    starts = {"layers": DEEPEST, "steps": started, "words": "first steps", "guessing": 2.3, "losses": curves}
    return {"nets": nets, "starts": starts}


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {verdict.claim: verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), 4_000, found)}


def states(found: dict[str, Any]) -> list[str]:
    return list(verdicts(found).values())


def test_the_papers_own_errors_support_every_claim() -> None:
    assert states(findings(PAPER, (2.2, 1.8))) == ["supports"] * EVERY


def test_the_opposite_order_speaks_against_every_claim() -> None:
    assert states(findings(OTHER_WAY, (1.8, 2.2))) == ["speaks against"] * EVERY


def test_equal_orders_show_no_difference_and_support_that_one_makes_none() -> None:
    equal = {layers: dict.fromkeys(errors, 6.0) for layers, errors in PAPER.items()}
    found = verdicts(findings(equal, (1.8, 1.8)))
    assert found.pop("relu-only") == "supports"
    assert list(found.values()) == ["no difference seen"] * (EVERY - 1)


@pytest.mark.parametrize("errors", [PAPER, OTHER_WAY])
@pytest.mark.parametrize(("count", "steps", "started"), [(2, 4_000, 500), (3, 999, 499)])
def test_few_seeds_or_steps_decide_neither_way(
    errors: dict[int, dict[str, float]], count: int, steps: int, started: int
) -> None:
    found = findings(errors, (2.2, 1.8), count=count, steps=steps, started=started)
    assert states(found) == ["not trained enough to tell"] * EVERY


def test_an_effect_at_one_depth_of_two_is_not_enough() -> None:
    mixed = {**PAPER, 164: dict.fromkeys(PAPER[164], 6.0)}
    assert verdicts(findings(mixed, (2.2, 1.8)))["full"] == "no difference seen"


def test_the_first_steps_of_shallow_networks_and_of_networks_at_chance_decide_nothing() -> None:
    shallow = findings(PAPER, (2.2, 1.8))
    shallow["starts"]["layers"] = 56
    assert verdicts(shallow)["beginning"] == "not trained enough to tell"
    assert verdicts(findings(PAPER, (100.0, 2.3)))["beginning"] == "not trained enough to tell"


def test_a_loss_that_is_not_finite_counts_as_chance() -> None:
    found = findings(PAPER, (2.2, 1.8))
    found["starts"]["losses"][ORIGINAL] = [[2.3], [2.3], []]
    verdict = STUDY.decide_claims(STUDY.claims_by_name(), 4_000, found)[4]
    assert verdict.state == "supports"
    assert verdict.effects[0].estimate == pytest.approx(2.3 - 1.81)


def test_the_first_steps_have_the_papers_warm_up() -> None:
    for scale in ("small", "paper"):
        start = DEEP_STARTS[scale]
        rates = [start.rate(step, 0.1) for step in range(start.steps)]
        assert rates == pytest.approx([0.01] * 400 + [0.1] * (start.steps - 400))
    assert FirstSteps(2, 8, 0).rate(0, 0.1) == 0.1


def test_at_paper_scale_every_row_of_tables_2_and_3_is_trained() -> None:
    names = [recipe.model for recipe in STUDY.plan(SCALES["paper"])]
    assert len(names) == len(set(names)) == 5 + 5 + 2
    assert {"resnet1001", "preresnet1001", "resnet164_relu_only", "preresnet110"} <= set(names)


def test_at_scale_small_pre_activation_is_trained_for_the_longer_time() -> None:
    steps = {(recipe.model, recipe.iterations) for recipe in STUDY.plan(SCALES["small"])}
    assert {("resnet32", 4_000), ("resnet32_relu_only", 4_000), ("preresnet32", 4_000)} <= steps
    assert {("resnet32", 1_000), ("resnet32_bn_after", 1_000), ("resnet32_relu_before", 1_000)} <= steps


def test_the_study_runs_and_decides_nothing_from_seconds(tiny: Tiny) -> None:
    result = tiny("order")
    assert {verdict.state for verdict in result.verdicts} == {"not trained enough to tell"}
    assert [len(losses) for losses in result.findings["starts"]["losses"][FULL]] == [2]
    assert [row[:3] for row in STUDY.table(result.findings).rows] == [(ORIGINAL, "20", "4"), (FULL, "20", "4")]
    assert png(result).startswith(b"\x89PNG")
