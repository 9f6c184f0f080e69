"""Study of shortcuts."""

from typing import Any

import pytest
from studied import Tiny

from skipway.study.engine.report import png
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.shortcuts import AT_TINY, IDENTITY, STUDY, VARIANTS

PAPER = {  # per cent, "fail" as 25
    label: 25.0 if error == "fail" else float(error) for label, (_, error) in VARIANTS.items()
}
TABLE_3 = {"A": 25.03, "B": 24.52, "C": 24.19, "plain": 28.54}


def seeds(error: float, spread: float = 0.1) -> list[dict[str, Any]]:
    """Two seeds of a network with all errors close to `error`."""
    return [
        {"seed": i, "running": e, "train": e, "test": e, "diverged": ""}
        for i, e in enumerate((error - spread, error + spread))
    ]


def findings(shortcuts: dict[str, float], options: dict[str, float], spread: float = 0.1) -> dict[str, Any]:
    return {
        "shortcuts": {label: seeds(error, spread) for label, error in shortcuts.items()},
        "options": {label: seeds(error, spread) for label, error in options.items()},
    }


def states(found: dict[str, Any], scale: str) -> list[str]:
    return [verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), SCALES[scale], found)]


def test_the_papers_own_errors_confirm_every_claim() -> None:
    assert states(findings(PAPER, TABLE_3), "paper") == ["holds"] * len(STUDY.claims)


def test_an_identity_that_is_the_worst_refutes_only_at_scale_paper() -> None:
    other_way = {label: 40 - error for label, error in PAPER.items()}
    plain_best = {**TABLE_3, "plain": 20.0}
    assert states(findings(other_way, plain_best), "paper") == ["does not hold"] * len(STUDY.claims)
    assert states(findings(other_way, plain_best), "small") == ["not decided"] * len(STUDY.claims)


def test_overlapping_seeds_decide_nothing() -> None:
    assert set(states(findings(PAPER, TABLE_3, spread=30), "paper")) == {"not decided"}


def test_options_that_differ_as_much_as_plain_does_refute() -> None:
    apart = {"A": 25.0, "B": 22.0, "C": 19.0, "plain": 28.0}
    assert states(findings(PAPER, apart), "paper")[0] == "does not hold"


@pytest.mark.parametrize("scale", ["small", "paper"])
def test_the_rows_of_table_1_are_networks_of_one_depth(scale: str) -> None:
    depth = {"small": "32", "paper": "110"}[scale]
    names = [recipe.model for recipe in STUDY.plan(SCALES[scale])][: len(VARIANTS)]
    assert names[:2] == [f"resnet{depth}", f"plain{depth}"]
    assert all(name.startswith(f"resnet{depth}_") for name in names[2:])


def test_the_study_runs_and_decides_nothing_from_seconds(tiny: Tiny) -> None:
    result = tiny("shortcuts")
    assert {verdict.state for verdict in result.verdicts} == {"not decided"}
    assert list(result.findings["shortcuts"]) == list(AT_TINY)
    assert result.findings["options"]["A"] == result.findings["shortcuts"][IDENTITY]  # the same training
    rows = STUDY.table(result.findings).rows
    assert [row[0] for row in rows[: len(AT_TINY)]] == list(AT_TINY)
    assert len(rows) == len(AT_TINY) + 4
    assert png(result).startswith(b"\x89PNG")
