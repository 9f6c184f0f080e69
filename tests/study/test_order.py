"""Study of the order of activations."""

from typing import Any

from studied import Tiny

from skipway.study.engine.report import png
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.activation_order import DEEPEST, FULL, ORDERS, ORIGINAL, STUDY


def seeds(error: float, spread: float = 0.01) -> list[dict[str, Any]]:
    """Two seeds of a network with all errors close to `error`."""
    return [
        {"seed": i, "running": e, "train": e, "test": e, "diverged": ""}
        for i, e in enumerate((error - spread, error + spread))
    ]


def findings(original: float, full: float, layers: int = DEEPEST) -> dict[str, Any]:
    """The paper's own errors, and first steps that end at these losses."""
    nets = {
        str(depth): {label: seeds(float(errors[depth])) for label, (_, errors) in ORDERS.items() if depth in errors}
        for depth in (110, 164, DEEPEST)
    }
    losses = {ORIGINAL: [[original] * 20, [original] * 20], FULL: [[full] * 20, [full] * 20]}
    return {
        "nets": nets,
        "starts": {"layers": layers, "steps": 20, "words": "", "guessing": 2.3, "losses": losses},
    }


def states(found: dict[str, Any], scale: str) -> dict[str, str]:
    return {
        verdict.claim: verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), SCALES[scale], found)
    }


def test_the_papers_order_confirms_every_claim() -> None:
    assert set(states(findings(2.2, 1.8), "paper").values()) == {"holds"}


def test_at_scale_small_only_trained_networks_are_decided() -> None:
    found = findings(2.2, 1.8)
    del found["nets"][str(DEEPEST)]
    undecided = {claim for claim, state in states(found, "small").items() if state == "not decided"}
    assert undecided == {"relu-only", "very-deep"}


def test_the_first_steps_of_shallow_networks_do_not_decide() -> None:
    assert states(findings(2.2, 1.8, layers=56), "small")["beginning"] == "not decided"


def test_two_losses_at_chance_do_not_decide() -> None:
    assert states(findings(3.0, 2.3), "small")["beginning"] == "not decided"


def test_a_network_with_a_non_finite_loss_is_the_slower_one() -> None:
    found = findings(2.2, 1.8)
    found["starts"]["losses"][ORIGINAL] = [[2.3], []]
    verdict = STUDY.decide_claims(STUDY.claims_by_name(), SCALES["small"], found)[4]
    assert verdict.state == "holds"
    assert "original not finite" in verdict.measured


def test_at_paper_scale_every_row_of_tables_2_and_3_is_trained() -> None:
    names = {recipe.model for recipe in STUDY.plan(SCALES["paper"])}
    assert len(names) == 5 + 5 + 2
    assert {"resnet1001", "preresnet1001", "resnet164_relu_only", "preresnet110"} <= names


def test_the_study_runs_and_decides_nothing_from_seconds(tiny: Tiny) -> None:
    result = tiny("order")
    assert {verdict.state for verdict in result.verdicts} == {"not decided"}
    assert [len(losses) for losses in result.findings["starts"]["losses"][FULL]] == [2]
    assert [row[:2] for row in STUDY.table(result.findings).rows] == [(ORIGINAL, "20"), (FULL, "20")]
    assert png(result).startswith(b"\x89PNG")
