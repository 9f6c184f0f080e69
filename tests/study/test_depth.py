"""Study of depth."""

from typing import Any

from studied import Tiny

from skipway.study.engine.report import png
from skipway.study.engine.scale import SCALES, training
from skipway.study.experiments.depth import STUDY

TABLE_6 = {"resnet20": 8.75, "resnet32": 7.51, "resnet44": 7.17, "resnet56": 6.97}
DEEP = {"resnet110": 6.43, "resnet1202": 7.93, "preresnet164": 5.46, "preresnet1001": 4.92}


def seeds(test: float, train: float = 0.05, spread: float = 0.01) -> list[dict[str, Any]]:
    return [
        {"seed": i, "running": train, "train": train + s, "test": test + s, "diverged": ""}
        for i, s in enumerate((-spread, spread))
    ]


def findings(falls_to: float = 1.5) -> dict[str, Any]:
    """The paper's test errors, and training errors that fall with them; first steps from 2.3 nats to `falls_to`."""
    losses = {model: [[2.3, *[falls_to] * 19]] * 2 for model in ("resnet1202", "preresnet1001")}
    return {
        "nets": {
            "full": {model: seeds(error, error - 6) for model, error in TABLE_6.items()},
            "warmed": {model: seeds(error) for model, error in DEEP.items()},
        },
        "starts": {"steps": 20, "guessing": 2.3, "words": "first steps", "losses": losses},
    }


def states(found: dict[str, Any], scale: str) -> dict[str, str]:
    return {
        verdict.claim: verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), SCALES[scale], found)
    }


def test_the_papers_own_errors_confirm_every_claim() -> None:
    assert set(states(findings(), "paper").values()) == {"holds"}


def test_one_deeper_network_with_a_higher_error_refutes_the_claim() -> None:
    found = findings()
    found["nets"]["full"]["resnet44"] = seeds(7.9, 1.9)
    assert states(found, "paper")["test"] == states(found, "paper")["training"] == "does not hold"
    assert states(found, "small")["test"] == "not decided"


def test_what_is_not_trained_is_not_decided() -> None:
    found = findings()
    for model in ("resnet1202", "preresnet1001"):
        del found["nets"]["warmed"][model]
    verdicts = {v.claim: v for v in STUDY.decide_claims(STUDY.claims_by_name(), SCALES["small"], found)}
    for claim in ("thousand", "overfits", "pre-activation"):
        assert verdicts[claim].state == "not decided"
        assert verdicts[claim].reason == "Scale small does not train these networks; scale paper does."
    assert verdicts["converges"].state == verdicts["beginning"].state == "holds"


def test_a_diverged_network_has_not_converged_whatever_its_previous_error() -> None:
    found = findings()
    for run in found["nets"]["warmed"]["resnet110"]:
        run.update(running=60.0, train=90.0, test=90.0, diverged="a weight became NaN or infinite")
    converges = STUDY.decide_claims(STUDY.claims_by_name(), SCALES["paper"], found)[2]
    assert converges.state == "does not hold"
    assert "resnet110 90.00 ± 0.00 % (2 seeds) (2 of 2 diverged)" in converges.measured


def test_a_loss_that_hardly_falls_does_not_count_as_learning() -> None:
    assert states(findings(2.2), "paper")["beginning"] == "does not hold"
    found = findings()
    found["starts"]["losses"]["resnet1202"] = [[], []]
    assert states(found, "paper")["beginning"] == "does not hold"
    found["starts"]["losses"]["resnet1202"] = [[1.5] * 20]
    assert states(found, "paper")["beginning"] == "not decided"  # one seed


def test_scale_small_shares_the_runs_of_degradation() -> None:
    recipes, scale = STUDY.plan(SCALES["small"]), SCALES["small"]
    assert {training(scale, "resnet20"), training(scale, "resnet56")} <= set(recipes)


def test_scale_paper_has_every_depth_of_the_papers() -> None:
    names = {recipe.model for recipe in STUDY.plan(SCALES["paper"])}
    assert names == {*TABLE_6, *DEEP}


def test_the_study_runs_and_decides_nothing_from_seconds(tiny: Tiny) -> None:
    result = tiny("depth")
    assert {verdict.state for verdict in result.verdicts} == {"not decided"}
    assert [row[:3] for row in STUDY.table(result.findings).rows] == [
        ("resnet20", "20", "full"),
        ("resnet56", "56", "full"),
    ]
    assert [len(losses) for losses in result.findings["starts"]["losses"]["resnet56"]] == [2]
    assert png(result).startswith(b"\x89PNG")
