"""Study of shortcuts."""

from typing import Any

import pytest
from studied import Tiny

from skipway.study.engine.report import png
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.shortcuts import (
    AT_TINY,
    CLOSED,
    DROPOUT,
    HALF_OPEN,
    IDENTITY,
    OPTIONS,
    STUDY,
    VARIANTS,
    options,
    variants,
)

STEPS = 4_000
PAPER = {  # per cent, "fail" as 25
    label: 25.0 if error == "fail" else float(error) for label, (_, error) in VARIANTS.items()
}
TABLE_3 = {"A": 25.03, "B": 24.52, "C": 24.19, "plain": 28.54}
OTHER_WAY = {label: 40 - error for label, error in PAPER.items()}
EVERY = len(STUDY.claims)


def seeds(error: float, spread: float, count: int) -> list[dict[str, Any]]:
    """Seeds of a network with all errors close to `error`."""
    return [
        {"seed": i, "running": e, "train": e, "test": e, "diverged": ""}
        for i, e in enumerate(error + spread * (i - (count - 1) / 2) for i in range(count))
    ]


def findings(
    shortcuts: dict[str, float], options: dict[str, float], spread: float = 0.05, count: int = 3, steps: int = STEPS
) -> dict[str, Any]:
    return {
        "layers": 110,
        "shortcuts": {"full": {label: seeds(error, spread, count) for label, error in shortcuts.items()}},
        "option_layers": 32,
        "options": {label: seeds(error, spread, count) for label, error in options.items()},
        "steps": {"full": steps, "options": steps},
    }


def verdicts(found: dict[str, Any]) -> dict[str, str]:
    return {verdict.claim: verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), STEPS, found)}


def states(found: dict[str, Any]) -> list[str]:
    return list(verdicts(found).values())


def test_the_papers_own_errors_support_every_claim() -> None:
    assert states(findings(PAPER, TABLE_3)) == ["supports"] * EVERY


def test_an_identity_that_is_the_worst_speaks_against_every_claim() -> None:
    assert states(findings(OTHER_WAY, {**TABLE_3, "plain": 20.0})) == ["speaks against"] * EVERY


def test_equal_errors_show_no_difference() -> None:
    equal = findings(dict.fromkeys(VARIANTS, 9.0), dict.fromkeys(TABLE_3, 25.0))
    assert states(equal) == ["no difference seen"] * EVERY


def test_seeds_that_overlap_show_no_difference() -> None:
    assert states(findings(PAPER, TABLE_3, spread=30)) == ["no difference seen"] * EVERY


@pytest.mark.parametrize("shortcuts", [PAPER, OTHER_WAY])
@pytest.mark.parametrize(("count", "steps"), [(2, STEPS), (1, STEPS), (3, 999)])
def test_few_seeds_or_steps_decide_neither_way(shortcuts: dict[str, float], count: int, steps: int) -> None:
    found = findings(shortcuts, TABLE_3, count=count, steps=steps)
    assert states(found) == ["not trained enough to tell"] * EVERY


def test_a_closed_gate_that_beats_the_identity_speaks_against_the_claim_on_it_alone() -> None:
    better = findings({**PAPER, CLOSED: PAPER[IDENTITY] - 0.8}, TABLE_3)
    assert [claim for claim, state in verdicts(better).items() if state == "speaks against"] == ["closed-gate"]


def test_options_that_differ_as_much_as_plain_does_speak_against_the_claim() -> None:
    assert verdicts(findings(PAPER, {"A": 25.0, "B": 22.0, "C": 19.0, "plain": 28.0}))["options"] == "speaks against"


def test_a_shortcut_is_compared_with_the_identity_of_the_same_length_of_training() -> None:
    found = findings(PAPER, TABLE_3)
    whole = found["shortcuts"]["full"]
    brief = {label: seeds(60 + PAPER[label], 0.05, 3) for label in (IDENTITY, DROPOUT, HALF_OPEN)}
    del whole[DROPOUT], whole[HALF_OPEN]
    found["shortcuts"]["brief"], found["steps"]["brief"] = brief, 1_000
    dropout = STUDY.decide_claims(STUDY.claims_by_name(), STEPS, found)[5]
    assert dropout.state == "supports"
    assert dropout.steps == 1_000
    assert dropout.effects[0].estimate == pytest.approx(PAPER[DROPOUT] - PAPER[IDENTITY])
    assert verdicts(found)["open-gate"] == "not trained enough to tell"  # never both for the same length


def test_every_row_of_table_1_is_trained_and_gates_for_the_longer_time() -> None:
    small = variants(SCALES["small"])
    assert set(small["full"]) | set(small["brief"]) == set(VARIANTS) == set(variants(SCALES["paper"])["full"])
    assert {HALF_OPEN, CLOSED, DROPOUT, IDENTITY} <= set(small["full"])
    assert {recipe.iterations for recipe in small["full"].values()} == {4_000}
    assert {recipe.milestones[0] * recipe.iterations for recipe in small["full"].values()} == {400}


@pytest.mark.parametrize("scale", ["small", "paper"])
def test_the_rows_of_table_1_are_networks_of_one_depth(scale: str) -> None:
    depth = {"small": "32", "paper": "110"}[scale]
    names = [recipe.model for nets in variants(SCALES[scale]).values() for recipe in nets.values()]
    assert {f"resnet{depth}", f"plain{depth}"} <= set(names)
    assert all(name.split("_")[0] in {f"resnet{depth}", f"plain{depth}"} for name in names)


def test_the_options_differ_in_the_shortcut_alone() -> None:
    recipes = options(SCALES["small"])
    assert {recipes[option].model for option in OPTIONS} == {"resnet20"}
    assert [recipes[option].shortcut for option in OPTIONS] == ["", "B", "C"]  # A is the network's own


def test_the_study_runs_and_decides_nothing_from_seconds(tiny: Tiny) -> None:
    result = tiny("shortcuts")
    assert {verdict.state for verdict in result.verdicts} == {"not trained enough to tell"}
    assert list(result.findings["shortcuts"]["full"]) == list(AT_TINY)
    assert result.findings["options"]["A"] == result.findings["shortcuts"]["full"][IDENTITY]  # the same training
    rows = STUDY.table(result.findings).rows
    assert [row[0] for row in rows[: len(AT_TINY)]] == list(AT_TINY)
    assert len(rows) == len(AT_TINY) + 4
    assert png(result).startswith(b"\x89PNG")
