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


def findings(**levels: float) -> dict[str, Any]:
    rows = [
        {"model": model, "seed": seed, "others": "", "responses": [level + seed / 100] * 3}
        for model, level in levels.items()
        for seed in (0, 1)
    ]
    return {"rows": rows}


def states(scale: str, **levels: float) -> list[str]:
    return [verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), SCALES[scale], findings(**levels))]


def test_verdicts_follow_the_measurements() -> None:
    assert states("small", plain20=1.0, plain56=1.1, resnet20=0.7, resnet56=0.4) == ["holds", "holds"]
    assert states("paper", plain20=0.3, plain56=0.3, resnet20=0.7, resnet56=0.9) == ["does not hold"] * 2
    assert states("paper", plain20=1.0, plain56=1.0, resnet20=0.7, resnet56=0.7) == ["holds", "not decided"]


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
    assert {verdict.state for verdict in result.verdicts} == {"not decided"}
    assert [len(row["responses"]) for row in result.findings["rows"]] == [55, 55, 19, 19]
