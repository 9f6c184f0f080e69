"""Study of layer responses."""

from pathlib import Path
from typing import Any

import pytest
import torch
from studied import Tiny
from twins import shaken

from skipway import models
from skipway.errors import DataError, SkipwayError
from skipway.study.engine.pretrained import open_pretrained
from skipway.study.engine.runs import open_cut
from skipway.study.engine.scale import SCALES
from skipway.study.experiments import degradation
from skipway.study.experiments.responses import STUDY, responses


def test_a_response_is_the_output_of_batch_norm() -> None:
    net, x = shaken(models.build("resnet20")).eval(), torch.randn(4, 3, 16, 16)
    found = responses(net, x)
    assert len(found) == 19
    with torch.no_grad():
        stem = net.bn1(net.conv1(x))
        unit, given = net.layer1[0], stem.relu()
        first = unit.bn1(unit.conv1(given))
        second = unit.bn2(unit.conv2(first.relu()))
    assert found[:3] == pytest.approx([stem.std().item(), first.std().item(), second.std().item()], rel=1e-5)


def test_projections_do_not_count_as_layers() -> None:
    net = models.build("resnet20", shortcut="B").eval()
    assert len(responses(net, torch.randn(1, 3, 16, 16))) == 19


def findings(seeds: int = 3, **levels: float) -> dict[str, Any]:
    """Networks all of whose layers have the response `levels[model]`, and a little more from seed to seed."""
    rows = [
        {"model": model, "seed": seed, "others": "", "responses": [level + seed / 100] * 3}
        for model, level in levels.items()
        for seed in range(seeds)
    ]
    return {"rows": rows}


PAPERS = {"plain20": 1.0, "plain56": 1.1, "resnet20": 0.7, "resnet56": 0.4}
REVERSED = {"plain20": 0.3, "plain56": 0.3, "resnet20": 0.7, "resnet56": 0.9}
UNDECIDED = ["not trained enough to tell"] * 3


def states(found: dict[str, Any], steps: int = 16_000) -> list[str]:
    return [verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), steps, found)]


def test_smaller_responses_of_residual_and_of_deeper_networks_support_every_claim() -> None:
    assert states(findings(**PAPERS)) == ["supports"] * 3


def test_larger_responses_speak_against_every_claim() -> None:
    assert states(findings(**REVERSED)) == ["speaks against"] * 3


def test_equal_responses_show_no_difference() -> None:
    assert states(findings(**dict.fromkeys(PAPERS, 0.7))) == ["no difference seen"] * 3


def test_two_seeds_few_steps_or_diverged_networks_decide_nothing() -> None:
    for levels in (PAPERS, REVERSED):
        assert states(findings(seeds=2, **levels)) == UNDECIDED
        assert states(findings(**levels), steps=999) == UNDECIDED
    assert states({"rows": []}) == UNDECIDED


def test_the_mean_decides_and_the_median_is_printed() -> None:
    found = findings(**PAPERS)
    for row in found["rows"]:
        if row["model"] == "plain56":
            row["responses"] = [0.1, 0.1, 9.0]  # a smaller median than the residual network's, and a larger mean
    verdict = STUDY.decide_claims(STUDY.claims_by_name(), 16_000, found)[1]
    assert verdict.state == "supports"
    assert "plain56 mean 3.067 ± 0.000 (3 seeds), median 0.100 ± 0.000 (3 seeds)" in verdict.measured


def test_pretrained_networks_do_not_count() -> None:
    found = findings(**PAPERS)
    found["rows"].append({"model": "resnet56", "seed": 0, "others": "another", "responses": [9.0] * 3})
    assert states(found) == ["supports"] * 3


def test_the_networks_are_those_of_degradation() -> None:
    known = degradation.STUDY.plan(SCALES["small"])
    assert all(recipe in known for recipe in STUDY.plan(SCALES["small"]))


def test_pretrained_networks_are_analysed_too(shared_data: Path) -> None:
    source = open_cut(str(shared_data / "cifar10"), 64)
    foreign = open_pretrained(str(shared_data / "weights" / "resnet56-4bfd9763.th"), source)
    images, labels = foreign.images("test", 64)
    with torch.inference_mode():
        wrong = (foreign.net(images).argmax(1) != labels).float().mean().item()
    assert wrong < 0.25  # published: 6.6 % on lossless images
    assert len(responses(foreign.net, images[:8])) == 55
    with pytest.raises(DataError, match="that the network does not have"):
        open_pretrained(str(shared_data / "weights" / "resnet56-4bfd9763.th"), open_cut("digits", 10))


def test_weights_with_unknown_preprocessing_are_refused(tmp_path: Path) -> None:
    torch.save(models.build("resnet20").state_dict(), tmp_path / "net.th")
    with pytest.raises(SkipwayError, match="not known weights"):
        open_pretrained(str(tmp_path / "net.th"), open_cut("digits", 10))


def test_the_study_runs(tiny: Tiny) -> None:
    result = tiny("responses")
    assert {verdict.state for verdict in result.verdicts} == {"not trained enough to tell"}
    assert [len(row["responses"]) for row in result.findings["rows"]] == [55, 55, 19, 19]
