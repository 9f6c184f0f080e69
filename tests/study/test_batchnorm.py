"""Study of batch normalisation."""

import math
from typing import Any

import pytest
import torch
from studied import Tiny
from torch import nn

from skipway import models
from skipway.study.engine.report import png
from skipway.study.experiments.batchnorm import NETS, STUDY, WITH, WITHOUT, highest, share_of_steps
from skipway.study.networks.registry import register_study_networks

STEPS = 400


def net(ends: dict[str, list[float | None]], losses: list[list[float]]) -> dict[str, Any]:
    known = {rate: [math.inf if x is None else x for x in found] for rate, found in ends.items()}
    return {"ends": ends, "best": float(min(known, key=lambda rate: sum(known[rate]))), "losses": losses}


def findings(seeds: int = 3, steps: int = STEPS) -> dict[str, Any]:
    """With batch norm the loss falls to 0.5 at once at rate 0.1; without it reaches 1.5, only at rate 0.01."""
    spread = [0.01 * i for i in range(seeds)]
    fast = net(
        {"0.1": [0.5 + s for s in spread], "0.01": [1.2] * seeds}, [[2.3, *[0.5 + s] * (steps - 1)] for s in spread]
    )
    slow = net(
        {"0.1": [None, *[2.3] * (seeds - 1)], "0.01": [1.5 + s for s in spread]}, [[1.5 + s] * steps for s in spread]
    )
    nets = {model: {WITH: fast, WITHOUT: slow} for model in NETS}
    return {"steps": steps, "words": "first steps", "guessing": 2.3026, "nets": nets}


def with_pair(found: dict[str, Any], with_: dict[str, Any], without: dict[str, Any]) -> dict[str, Any]:
    return {**found, "nets": {model: {WITH: with_, WITHOUT: without} for model in found["nets"]}}


def states(found: dict[str, Any]) -> set[str]:
    verdicts = STUDY.decide_claims(STUDY.claims_by_name(), 0, found)
    assert [verdict.claim for verdict in verdicts] == [claim.name for claim in STUDY.claims]
    return {verdict.state for verdict in verdicts}


def test_faster_learning_at_higher_rates_with_batch_norm_supports_every_claim() -> None:
    assert states(findings()) == {"supports"}


def test_faster_learning_at_higher_rates_without_it_speaks_against_every_claim() -> None:
    found = findings()
    pair = found["nets"]["plain8"]
    assert states(with_pair(found, pair[WITHOUT], pair[WITH])) == {"speaks against"}


def test_the_same_losses_with_and_without_show_no_difference_in_rate_and_loss() -> None:
    found = findings()
    same = with_pair(found, found["nets"]["plain8"][WITH], found["nets"]["plain8"][WITH])
    by_claim = {verdict.claim: verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), 0, same)}
    assert by_claim["rates-plain8"] == by_claim["loss-resnet20"] == "no difference seen"


def test_two_seeds_few_steps_and_networks_that_learn_nothing_decide_nothing() -> None:
    assert states(findings(seeds=2)) == {"not trained enough to tell"}
    assert states(findings(steps=STEPS - 1)) == {"not trained enough to tell"}
    chance = net({"0.1": [2.3] * 3, "0.01": [2.31] * 3}, [[2.3] * STEPS] * 3)
    assert states(with_pair(findings(), chance, chance)) == {"not trained enough to tell"}


def test_a_network_that_was_not_trained_is_left_undecided() -> None:
    found = findings()
    del found["nets"]["plain8"]
    by_claim = {verdict.claim: verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), 0, found)}
    assert by_claim["loss-plain8"] == "not trained enough to tell"
    assert by_claim["loss-resnet8"] == "supports"


def test_steps_need_a_network_that_learns_without_batch_norm() -> None:
    found = findings()
    stuck = net({"0.1": [2.3] * 3, "0.01": [2.3] * 3}, [[2.3] * STEPS] * 3)
    found = with_pair(found, found["nets"]["plain8"][WITH], stuck)
    by_claim = {verdict.claim: verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), 0, found)}
    assert by_claim["steps-plain20"] == "not trained enough to tell"
    assert by_claim["loss-plain20"] == by_claim["rates-plain20"] == "supports"


def test_the_highest_rate_is_each_seeds_own() -> None:
    found = net({"1.0": [0.5, None, 2.3], "0.1": [0.5, 2.0, 2.29]}, [[0.5], [2.0], [2.3]])
    assert highest(found, guessing=2.3) == [1.0, 0.1, 0.0]


def test_share_of_steps_to_the_final_loss_without_batch_norm() -> None:
    pair = {
        WITH: net({"0.1": [0.0]}, [[2.0] * 10 + [0.0] * 30]),
        WITHOUT: net({"0.1": [1.0]}, [[1.0] * 40]),
    }
    assert share_of_steps(pair, 40) == [pytest.approx(100 * 15 / 40)]  # five zeros among ten make a mean of 1
    pair[WITHOUT] = net({"0.1": [-1.0]}, [])
    assert share_of_steps(pair, 40) == [200.0]


def test_the_networks_of_8_layers_lose_nothing_but_their_normalisations() -> None:
    register_study_networks()
    for kind in ("plain8", "resnet8"):
        whole, bare = models.build(kind), models.build(f"{kind}_bare")
        layers = [m for m in whole.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        norms = [m for m in whole.modules() if isinstance(m, nn.BatchNorm2d)]
        assert len(layers) == 8
        lost = sum(p.numel() for p in whole.parameters()) - sum(p.numel() for p in bare.parameters())
        assert lost == sum(2 * norm.num_features for norm in norms)
        assert bare(torch.zeros(2, 3, 16, 16)).shape == (2, 10)


def test_the_study_runs_and_decides_nothing_from_seconds(tiny: Tiny) -> None:
    result = tiny("batchnorm")
    assert {verdict.state for verdict in result.verdicts} == {"not trained enough to tell"}
    assert list(result.findings["nets"]) == ["plain8", "resnet8"]
    assert len(STUDY.table(result.findings).rows) == 4
    assert png(result).startswith(b"\x89PNG")
