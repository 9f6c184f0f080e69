"""Running a study: plans, budgets, requests and results."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from studied import Tiny

from skipway.errors import SkipwayError, UnknownNameError
from skipway.study import STUDIES
from skipway.study.engine import budget, runner
from skipway.study.engine.experiment import no_training
from skipway.study.engine.results import SCHEMA, read_result, read_results, write_result
from skipway.study.engine.runner import Request, find_study, run_experiment, seeded
from skipway.study.engine.runs import Machine, open_cut
from skipway.study.engine.scale import SCALES
from skipway.training.recipes import HE2015_CIFAR, Recipe
from skipway.training.time_estimate import parse_budget

QUIET = Console(quiet=True)


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("scale", SCALES)
def test_a_plan_has_runs_of_one_seed_without_duplicates(name: str, scale: str) -> None:
    recipes = list(STUDIES[name].plan(SCALES[scale]))
    assert len(set(recipes)) == len(recipes)
    assert {recipe.seed for recipe in recipes} <= {0}
    assert all(recipe.iterations >= 1 for recipe in recipes)


@pytest.mark.parametrize("name", STUDIES)
def test_every_claim_has_a_source_and_a_refutation(name: str) -> None:
    study = STUDIES[name]
    assert len(study.claims_by_name()) == len(study.claims) > 0
    for claim in study.claims:
        for words in (claim.sentence, claim.source, claim.published, claim.tolerance, claim.refuted_by):
            assert len(words) > 3
        assert claim.sentence.endswith(".")
        assert claim.refuted_by.endswith(".")


def test_all_recipes_of_a_seed_precede_the_next_seed() -> None:
    recipes = STUDIES["degradation"].plan(SCALES["tiny"])
    assert [recipe.seed for recipe in seeded(recipes, 2)] == [0] * 5 + [1] * 5


def test_a_result_contains_its_settings(tiny: Tiny, studies: Path) -> None:
    result = tiny("degradation")
    file = studies / "results" / "degradation-tiny.json"
    assert read_result(file) == result
    values = json.loads(file.read_text())
    assert values["schema"] == SCHEMA
    assert values["scale"]["iterations"] == 4
    assert values["seeds"] == [0]
    assert {"device", "precision"} <= set(values["hardware"])
    assert {"python", "torch", "skipway"} <= set(values["versions"])
    assert values["commit"]
    assert values["data"]["name"] == "digits"
    assert len(values["data"]["fingerprint"]) == 64
    assert len(values["runs"]) == 5  # two depths of two kinds, and the short one
    assert "verdicts" not in values  # they are drawn from the findings whenever these are read
    assert [v.claim for v in read_result(file).verdicts] == [c.name for c in STUDIES["degradation"].claims]


def test_invalid_results_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    file = write_result(tmp_path, tiny("degradation"))
    whole = json.loads(file.read_text())
    lacking = {key: value for key, value in whole.items() if key != "seeds"}
    strange = [{**whole, "schema": 99}, {**whole, "study": "degradatoin"}, {**whole, "findings": {"plain20": []}}]
    for text in ("{", "[]", *map(json.dumps, (lacking, *strange))):
        file.write_text(text)
        with pytest.raises(SkipwayError, match=r"degradation-tiny\.json .*run the study again"):
            read_result(file)
    with pytest.raises(SkipwayError, match="contains no results"):
        read_results(tmp_path / "none")


def test_a_budget_fits_the_plan_and_not_two_more_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "step_time", lambda *_: 0.5)
    study, scale = STUDIES["degradation"], SCALES["paper"]
    source, decided = open_cut("digits", 64), Machine().decide()
    limit = parse_budget("2h")

    def spent(scale: runner.Scale) -> float:
        whole = budget.cost(study.plan(scale), source, scale, decided)
        return 3 * (whole.steps + whole.evaluation) / 2  # three seeds, two at a time

    planned = budget.fit_scale(study, scale, 3, limit, source, decided, 2)
    assert 1 <= planned.iterations < scale.iterations
    assert spent(planned) <= limit < spent(replace(planned, iterations=planned.iterations + 2))
    assert budget.fit_scale(study, scale, 1, 1e9, source, decided, 1) == scale


def test_steps_are_timed_once_for_each_image_size_and_not_for_each_length(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed: list[Recipe] = []

    def seconds(recipe: Recipe, *_: object) -> float:
        timed.append(recipe)
        return 1.0 if recipe.size == 32 else 0.25

    monkeypatch.setattr(budget, "step_time", seconds)
    large = replace(HE2015_CIFAR, iterations=10, size=32)
    recipes = [large, replace(large, iterations=20), replace(large, size=16)]
    whole = budget.cost(recipes, open_cut("digits", 64), SCALES["tiny"], Machine().decide())
    assert whole.steps == pytest.approx(budget.OVERHEAD * (10 + 20 + 0.25 * 10))
    assert len(timed) == 2


def test_a_budget_is_planned_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    times = iter([0.5] * 4 + [0.1] * 4)
    monkeypatch.setattr(budget, "step_time", lambda *_: next(times))
    study, scale, source = STUDIES["degradation"], SCALES["small"], open_cut("digits", 64)
    plans = [runner.plan(study, scale, 1, 600.0, source, Machine(), tmp_path) for _ in range(2)]
    assert plans[0] == plans[1] != scale


def test_a_budget_too_small_for_one_step_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(
        SkipwayError, match=r"0\.01 s is too small for one step of each training run of degradation.*about"
    ):
        run_experiment(Request("degradation", "tiny", budget="0.01s", out=tmp_path), Machine(), QUIET)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("text", ["30", "m", "-3m", "0s", "1d", "half an hour"])
def test_an_invalid_budget_is_refused(text: str) -> None:
    with pytest.raises(SkipwayError, match="is not a duration"):
        parse_budget(text)


def test_step_time_is_positive() -> None:
    recipe = STUDIES["degradation"].plan(SCALES["tiny"])[-1]
    assert 0 < budget.step_time(recipe, open_cut("digits", 64), Machine().decide()) < 60


def test_a_study_without_training_needs_no_budget() -> None:
    study = replace(STUDIES["degradation"], plan=no_training)
    source = open_cut("digits", 64)
    assert budget.fit_scale(study, SCALES["tiny"], 1, 1.0, source, Machine().decide(), 1) == SCALES["tiny"]


def test_invalid_requests_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'degradation'"):
        find_study("degredation")
    for request, message in (
        (Request("degradation", "huge", out=tmp_path), "unknown --scale 'huge'"),
        (Request("degradation", "tiny", weights="net.th", out=tmp_path), "does not analyse pretrained weights"),
        (Request("degradation", "tiny", seeds=-1, out=tmp_path), "--seeds must be above 0"),
        (Request("degradation", "tiny", data="nowhere/at/all", out=tmp_path), "does not exist"),
        (Request("lesion", "tiny", weights="nobody.th", out=tmp_path), "nobody"),
        (Request("degradation", "tiny", out=tmp_path / "file"), "is not a folder: choose another --out"),
    ):
        (tmp_path / "file").touch()
        with pytest.raises(SkipwayError, match=message):
            run_experiment(request, Machine(), QUIET)
        assert not (tmp_path / "runs").exists()  # nothing was trained
