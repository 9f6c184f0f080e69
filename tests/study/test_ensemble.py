"""Study of test-time augmentation and ensembles."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from studied import Tiny

from skipway import hardware, models
from skipway.data import open_dataset
from skipway.data.dataset import Dataset, Split
from skipway.data.preprocess import Preprocessing
from skipway.evaluation import test_time_augmentation
from skipway.models.base import Network
from skipway.models.pretrained.registry import CIFAR10
from skipway.study import STUDIES
from skipway.study.engine.pretrained import open_pretrained
from skipway.study.engine.report import png
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.ensemble import STUDY, TEST_IMAGES, compared, teams
from skipway.study.probes.test_views import (
    ALL,
    ONE,
    SIDES,
    TEN,
    VIEWS,
    Member,
    pretrained_member,
    ten_crops,
    three_sizes,
)
from skipway.tasks.classify.pooling import mean_softmax
from skipway.trained import TrainedModel

PREPROCESSING = Preprocessing(3, 12, 12, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))


def split_of(count: int, side: int) -> Split:
    rng = np.random.default_rng(3)
    pixels = rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    return Split(pixels, np.arange(count) % 10, [f"{i}" for i in range(count)])


@pytest.fixture(scope="module")
def net() -> Network:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        made = models.build("resnet20")
        made.train()(torch.randn(8, 3, 12, 12))
        made.fc.weight.data *= 40  # scores that differ from view to view
    return made.eval()


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def test_ten_crops_equal_manually_averaged_crops_of_the_reflected_margin(net: Network) -> None:
    """At 16 pixels the margin is 2, the padding of training at that size."""
    split = split_of(3, 16)
    preprocessing = replace(PREPROCESSING, size=16, resize=16)
    found = ten_crops(net, preprocessing, hardware.decide("cpu"), mean_softmax)(split)[0]
    mean, std = np.array(PREPROCESSING.mean), np.array(PREPROCESSING.std)
    for image, scores in zip(split.items, found, strict=True):
        wide = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        crops = [wide[y : y + 16, x : x + 16] for y, x in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2))]
        crops += [crop[:, ::-1] for crop in crops]
        batch = ((np.stack(crops) / 255 - mean) / std).transpose(0, 3, 1, 2)
        with torch.no_grad():
            predictions = softmax(net(torch.from_numpy(batch.copy()).float()).numpy().astype(np.float64))
        np.testing.assert_allclose(softmax(scores.numpy()), predictions.mean(0), atol=1e-4)
        assert predictions.std(0).max() > 1e-3, "the crops differ"


def test_three_sizes_equal_the_multi_scale_protocol(net: Network) -> None:
    split, decided = split_of(3, 12), hardware.decide("cpu")
    expected = test_time_augmentation.multi_scale(net, PREPROCESSING, decided, mean_softmax, SIDES)(split)[0]
    torch.testing.assert_close(
        three_sizes(net, PREPROCESSING, decided, mean_softmax)(split)[0], expected, rtol=1e-3, atol=1e-3
    )


def test_a_change_has_mcnemars_p() -> None:
    first = np.array([True] * 2 + [False] * 8 + [True] * 40)
    second = np.array([False] * 2 + [True] * 8 + [True] * 40)
    # 10 images that only one classifies correctly, 2 of them the first: 2 (1 + 10 + 45) / 2^10
    assert compared(first, second) == {"change": -12.0, "p": pytest.approx(0.109375)}
    assert compared(first, first) == {"change": 0.0, "p": 1.0}


def member(name: str, kind: str) -> Member:
    return Member(name, kind, name, lambda: (net, PREPROCESSING), range(10))  # type: ignore[arg-type, return-value]


def test_ensembles_of_seeds_depths_all_and_pretrained_networks() -> None:
    own = [member(f"{kind} {seed}", kind) for kind in ("resnet56", "resnet20") for seed in (0, 1)]
    others = [member("a", "a"), member("b", "b")]
    assert teams(own, others) == {
        "2 seeds of resnet56": ["resnet56 0", "resnet56 1"],
        "2 seeds of resnet20": ["resnet20 0", "resnet20 1"],
        "both depths 0": ["resnet56 0", "resnet20 0"],
        "both depths 1": ["resnet56 1", "resnet20 1"],
        "all nets": [m.name for m in own],
        "others' nets": ["a", "b"],
    }
    assert teams(own[::2], others[:1]) == {"both depths 0": ["resnet56 0", "resnet20 0"]}
    assert "both depths 0" not in teams(own[1:], []), "a seed with a diverged network has no ensemble of both depths"
    assert teams([], []) == {}


def findings(view: float, team: float, spread: float = 0.1, seeds: int = 3) -> dict[str, Any]:
    """Changes of the error by views and ensembles in points, and a pretrained network without any."""

    def change(points: float, seed: int) -> dict[str, float]:
        return {"change": points + (seed - 1) * spread, "p": 0.5}

    singles = [
        {
            "name": f"{kind}, seed {seed}",
            "kind": kind,
            "errors": dict.fromkeys(VIEWS, 10.0),
            "changes": {v: change(view, seed) for v in VIEWS if v != ONE},
        }
        for kind in ("resnet56", "resnet20")
        for seed in range(seeds)
    ]
    none = {v: {"change": 0.0, "p": 1.0} for v in VIEWS}
    singles.append({"name": "a", "kind": "a", "errors": dict.fromkeys(VIEWS, 9.0), "changes": none})
    together = [
        {
            "name": f"both depths, seed {seed}",
            "errors": dict.fromkeys(VIEWS, 9.5),
            "best": dict.fromkeys(VIEWS, change(team, seed)),
            "views": change(view, seed),
        }
        for seed in range(seeds)
    ]
    return {"singles": singles, "together": together}


def states(found: dict[str, Any], steps: int = 16_000) -> list[str]:
    return [verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), steps, found)]


def test_errors_that_fall_support_and_errors_that_rise_speak_against_every_claim() -> None:
    assert states(findings(-1.0, -1.0)) == ["supports"] * 5
    assert states(findings(1.0, 1.0)) == ["speaks against"] * 5


def test_views_and_networks_are_decided_apart_and_adding_up_needs_both() -> None:
    assert states(findings(1.0, -1.0)) == ["speaks against"] * 3 + ["supports", "speaks against"]
    assert states(findings(-1.0, 1.0)) == ["supports"] * 3 + ["speaks against"] * 2


def test_small_or_scattered_changes_are_no_difference() -> None:
    assert states(findings(-0.05, 0.05, spread=0.001)) == ["no difference seen"] * 5
    assert states(findings(-1.0, -1.0, spread=2.0)) == ["no difference seen"] * 5


def test_one_depth_that_gets_worse_speaks_against_a_view() -> None:
    found = findings(-1.0, -1.0)
    for one in found["singles"]:
        if one["kind"] == "resnet20":
            one["changes"] = {view: {**change, "change": 1.0} for view, change in one["changes"].items()}
    assert states(found)[:3] == ["speaks against"] * 3


def test_two_seeds_few_steps_or_pretrained_networks_alone_decide_nothing() -> None:
    untrained = ["not trained enough to tell"] * 5
    for sign in (-1.0, 1.0):
        assert states(findings(sign, sign, seeds=2)) == untrained
        assert states(findings(sign, sign), 999) == untrained
        assert states(findings(sign, sign, seeds=0)) == untrained
    assert states({"singles": [], "together": []}) == untrained


def test_the_networks_are_those_of_degradation() -> None:
    for scale in SCALES.values():
        assert set(STUDY.plan(scale)) <= set(STUDIES["degradation"].plan(scale))


def test_pretrained_scores_are_in_the_order_of_the_datas_classes(shared_data: Path) -> None:
    dataset = Dataset("made up", CIFAR10[::-1], split_of(10, 32), None, split_of(10, 32))
    found = pretrained_member(
        open_pretrained(str(shared_data / "weights" / "resnet20-12fca82f.th"), dataset), dataset.classes
    )
    assert [CIFAR10[i] for i in found.order] == list(dataset.classes)
    assert found.open()[1].size == 32


def test_the_study_runs_and_its_ensemble_is_the_mean_of_probabilities(tiny: Tiny, studies: Path) -> None:
    result = tiny("ensemble")
    assert {verdict.state for verdict in result.verdicts} == {"not trained enough to tell"}
    assert png(result).startswith(b"\x89PNG")
    test = open_dataset("digits").test
    assert test is not None
    for most in (SCALES["tiny"].images, TEST_IMAGES["tiny"]):
        test = test.take(np.linspace(0, len(test) - 1, most).astype(int))
    predictions = []
    for run in result.runs:
        loaded = TrainedModel.load(studies / "runs" / run["key"] / "run")
        net, card = loaded.net, loaded.card
        mean, std = (card.preprocessing[key][0] for key in ("mean", "std"))
        with torch.no_grad():
            scores = net((torch.from_numpy(test.items).permute(0, 3, 1, 2) / 255 - mean) / std)
        predictions.append(softmax(scores.numpy().astype(np.float64)))
    correct = np.mean(predictions, 0).argmax(1) == test.labels
    (team,) = result.findings["together"]
    assert team["errors"][ONE] == pytest.approx(100 * (1 - correct.mean()), abs=1e-3)
    singles = {one["name"]: one["errors"] for one in result.findings["singles"]}
    assert set(singles) == {"resnet56, seed 0", "resnet20, seed 0"}
    assert all(set(errors) == set(VIEWS) and TEN in errors and ALL in errors for errors in singles.values())
