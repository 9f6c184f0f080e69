"""Studies of degradation."""

from dataclasses import replace
from typing import Any

import torch
from studied import Tiny

from skipway import models
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.degradation import AT_64, CIFAR, STUDY, THIRD, early_error, trainings
from skipway.study.networks.registry import register_study_networks
from skipway.training.recipes import HE2015_CIFAR

PAPER = 64_000


def runs(error: float, spread: float, curve: tuple[float, ...] = ()) -> list[dict[str, Any]]:
    """Three seeds with this error of every kind; curve: running errors, evenly spaced over 1,000 steps."""
    steps = [round(1_000 * (i + 1) / len(curve)) for i in range(len(curve))]
    return [
        {
            "seed": i,
            **dict.fromkeys(("running", "train", "test"), error + change),
            "curve": [[step, value + change] for step, value in zip(steps, curve, strict=True)],
            "diverged": "",
        }
        for i, change in enumerate((-spread, 0.0, spread))
    ]


def findings(
    plain: tuple[float, float], residual: tuple[float, float], spread: float = 0.1, third: float = 0.0
) -> dict[str, Any]:
    """Three seeds of each network, with these errors for 20 and 56 layers; third: of plain20 after a third of the
    steps, 0 for that after all."""
    return {
        "plain20": runs(plain[0], spread),
        "plain56": runs(plain[1], spread),
        "resnet20": runs(residual[0], spread),
        "resnet56": runs(residual[1], spread),
        THIRD: runs(third or plain[0], spread),
    }


def states(found: dict[str, Any], steps: int) -> dict[str, str]:
    return {v.claim: v.state for v in STUDY.decide_claims(STUDY.claims_by_name(), steps, found)}


def test_the_papers_own_errors_support_every_claim() -> None:
    assert set(states(findings((9.5, 13.0), (8.75, 6.97)), PAPER).values()) == {"supports"}


def test_deeper_networks_that_go_the_other_way_speak_against_every_claim() -> None:
    assert set(states(findings((13.0, 9.5), (6.97, 8.75)), PAPER).values()) == {"speaks against"}


def test_the_reversal_and_the_papers_errors_need_their_length_of_training() -> None:
    for errors in (((9.5, 13.0), (8.75, 6.97)), ((13.0, 9.5), (6.97, 8.75))):
        found = states(findings(*errors), 4_000)
        untrained = {name for name, state in found.items() if state == "not trained enough to tell"}
        assert untrained == {"residual-training", "residual-test", "longer", "published"}
        longer = states(findings(*errors), 16_000)
        assert [name for name, state in longer.items() if state == "not trained enough to tell"] == ["published"]


def test_overlapping_seeds_show_no_difference() -> None:
    found = states(findings((9.0, 9.6), (9.0, 8.4), spread=1.0), PAPER)
    assert {state for name, state in found.items() if name != "published"} == {"no difference seen"}


def test_two_seeds_decide_nothing() -> None:
    found = {net: seeds[:2] for net, seeds in findings((9.5, 13.0), (8.75, 6.97)).items()}
    assert set(states(found, PAPER).values()) == {"not trained enough to tell"}


def test_an_effect_in_test_error_alone_is_not_degradation() -> None:
    overfitted = findings((9.5, 13.0), (8.75, 6.97))
    for model in ("plain20", "plain56", THIRD):
        for run in overfitted[model]:
            run["train"] = run["running"] = 5.0
    found = states(overfitted, PAPER)
    assert [found[name] for name in ("plain-training", "plain-test")] == ["no difference seen", "supports"]


def test_a_deep_network_that_three_times_the_steps_mend_speaks_against_that_claim_alone() -> None:
    mended = states(findings((9.5, 13.0), (8.75, 6.97), third=15.0), PAPER)
    assert [name for name, state in mended.items() if state != "supports"] == ["longer"]
    assert mended["longer"] == "speaks against"


def test_a_result_without_the_short_training_says_that_it_was_not_trained() -> None:
    found = findings((9.5, 13.0), (8.75, 6.97))
    del found[THIRD]
    assert states(found, PAPER)["longer"] == "not trained enough to tell"


def test_the_short_training_has_a_third_of_the_steps_and_the_same_recipe() -> None:
    for name in ("small", "paper"):
        recipes = trainings(CIFAR, SCALES[name])
        short, whole = recipes[THIRD], recipes["plain20"]
        assert short.iterations == round(whole.iterations / 3)
        same = {"iterations": 0, "milestones": ()}
        assert replace(short, **same) == replace(whole, **same)
        warm = [round(recipe.iterations * recipe.milestones[0]) for recipe in (short, whole)]
        assert warm == ([400, 400] if name == "small" else [10_666, 32_000])


def on_imagenet(early: tuple[float, float], late: float = 40.0) -> dict[str, Any]:
    """Networks that end equal; early: running errors of plain18 and resnet18 in the first half of training."""
    nets = {f"{kind}{depth}": runs(late, 0.1, (60.0, late)) for kind in ("plain", "resnet") for depth in (18, 34)}
    nets["plain18"], nets["resnet18"] = (runs(late, 0.1, (error, late)) for error in early)
    return nets


def convergence(found: dict[str, Any], steps: int = 1_000) -> str:
    verdicts = AT_64.decide_claims(AT_64.claims_by_name(), steps, found)
    return next(v.state for v in verdicts if v.claim == "convergence")


def test_the_network_that_is_ahead_early_converges_faster() -> None:
    assert convergence(on_imagenet((60.0, 50.0))) == "supports"
    assert convergence(on_imagenet((50.0, 60.0))) == "speaks against"
    assert convergence(on_imagenet((55.0, 55.1))) == "no difference seen"
    assert convergence(on_imagenet((50.0, 60.0)), 999) == "not trained enough to tell"


def test_the_other_claims_at_64_pixels_go_both_ways() -> None:
    for order, state in ((1.0, "supports"), (-1.0, "speaks against")):
        found = on_imagenet((60.0, 50.0))
        found["plain34"], found["resnet34"] = runs(40 + order, 0.1), runs(40 - order, 0.1)
        verdicts = AT_64.decide_claims(AT_64.claims_by_name(), 10_000, found)
        assert [v.state for v in verdicts if v.claim != "convergence"] == [state] * 4


def test_a_diverged_run_counts_as_chance_when_convergence_is_compared() -> None:
    diverged = {"curve": [[100, 1.0]], "train": 90.0, "diverged": "the loss is nan"}
    assert early_error(diverged) == 90.0
    assert early_error({"curve": [[400, 70.0], [500, 60.0], [1000, 10.0]], "train": 5.0, "diverged": ""}) == 65.0
    assert early_error({"curve": [[1000, 10.0]], "train": 5.0, "diverged": ""}) == 10.0


def test_at_paper_scale_the_recipe_is_the_papers() -> None:
    for label, recipe in trainings(CIFAR, SCALES["paper"]).items():
        steps = {} if label == THIRD else {"iterations": 64_000}
        assert recipe == type(recipe)(**{**vars(HE2015_CIFAR), "model": recipe.model, "iterations": 21_333, **steps})


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
    assert {verdict.state for verdict in result.verdicts} == {"not trained enough to tell"}
    for label, trained in result.findings.items():
        assert [run["seed"] for run in trained] == [0], label
        assert [step for step, _ in trained[0]["curve"]] == [1 if label == THIRD else 4]
        assert 0 <= trained[0]["test"] <= 100
