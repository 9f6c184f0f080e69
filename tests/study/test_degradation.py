"""Studies of degradation."""

from typing import Any

import torch
from studied import Tiny

from skipway import models
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.degradation import AT_64, STUDY
from skipway.study.networks.registry import register_study_networks
from skipway.training.recipes import HE2015_CIFAR


def findings(plain: tuple[float, float], residual: tuple[float, float], spread: float = 0.1) -> dict[str, Any]:
    """Two seeds of each network, with these errors (of every kind) for 20 and 56 layers."""

    def runs(error: float) -> list[dict[str, Any]]:
        return [
            {"seed": i, "running": e, "train": e, "test": e, "diverged": ""}
            for i, e in enumerate((error - spread, error + spread))
        ]

    return {
        "plain20": runs(plain[0]),
        "plain56": runs(plain[1]),
        "resnet20": runs(residual[0]),
        "resnet56": runs(residual[1]),
    }


def states(found: dict[str, Any], scale: str) -> list[str]:
    return [verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), SCALES[scale], found)]


def test_the_papers_own_errors_confirm_every_claim() -> None:
    assert states(findings((9.5, 13.0), (8.75, 6.97)), "paper") == ["holds"] * 5


def test_deeper_plain_networks_that_train_better_refute_only_at_scale_paper() -> None:
    other_way = findings((13.0, 9.5), (6.97, 8.75))
    assert states(other_way, "paper") == ["does not hold"] * 5
    assert states(other_way, "small") == ["not decided"] * 5


def test_overlapping_seeds_decide_nothing() -> None:
    assert states(findings((9.0, 9.6), (9.0, 8.4), spread=1.0), "paper")[:4] == ["not decided"] * 4


def test_an_effect_in_test_error_alone_is_not_degradation() -> None:
    overfitted = findings((9.5, 13.0), (8.75, 6.97))
    for model in ("plain20", "plain56"):
        for run in overfitted[model]:
            run["train"] = run["running"] = 5.0
    assert states(overfitted, "paper")[:2] == ["not decided", "holds"]


def test_at_paper_scale_the_recipe_is_the_papers() -> None:
    for recipe in STUDY.plan(SCALES["paper"]):
        assert recipe == type(recipe)(**{**vars(HE2015_CIFAR), "model": recipe.model})


def test_18_and_34_layers_are_trained_at_64_pixels() -> None:
    recipes = AT_64.plan(SCALES["paper"])
    assert {recipe.size for recipe in recipes} == {64}
    register_study_networks()
    nets = {recipe.model: models.build(recipe.model, classes=1000) for recipe in recipes}
    sizes = {name.removesuffix("_imagenet"): sum(p.numel() for p in net.parameters()) for name, net in nets.items()}
    assert sizes["resnet34"] == sizes["plain34"] == 21_623_848  # option A, as in Table 2: no parameter more
    assert sizes["resnet18"] == sizes["plain18"]
    for net in nets.values():
        assert net.features(torch.zeros(2, 3, 64, 64))[-1].shape == (2, 512, 2, 2)


def test_the_study_runs_and_decides_nothing_from_seconds(tiny: Tiny) -> None:
    result = tiny("degradation")
    assert {verdict.state for verdict in result.verdicts} == {"not decided"}
    for model, runs in result.findings.items():
        assert [run["seed"] for run in runs] == [0], model
        assert [step for step, _ in runs[0]["curve"]] == [4]
        assert 0 <= runs[0]["test"] <= 100
