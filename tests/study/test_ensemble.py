"""Study of test-time augmentation and ensembles."""

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
from skipway.study.engine.pretrained import open_pretrained
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.ensemble import STUDY, TEST_IMAGES, compared, each_improved, improved, teams
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
    split = split_of(3, 12)
    found = ten_crops(net, PREPROCESSING, hardware.decide("cpu"), mean_softmax)(split)[0]
    mean, std = np.array(PREPROCESSING.mean), np.array(PREPROCESSING.std)
    for image, scores in zip(split.items, found, strict=True):
        wide = np.pad(image, ((4, 4), (4, 4), (0, 0)), mode="reflect")
        crops = [wide[y : y + 12, x : x + 12] for y, x in ((0, 0), (0, 8), (8, 0), (8, 8), (4, 4))]
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


def test_an_improvement_is_consistent_and_at_least_once_significant() -> None:
    sure, unsure = {"change": -1.0, "p": 0.001}, {"change": -0.1, "p": 0.6}
    worse = {"change": 0.2, "p": 0.001}
    assert improved([sure, unsure]) is True
    assert improved([worse, worse]) is False
    assert improved([sure, worse]) is None
    assert improved([unsure, unsure]) is None
    assert improved([{"change": -1.0, "p": 0.03}] * 2) is None, "two tests need half the level"
    assert improved([]) is None


def test_each_improved_requires_significance_every_time() -> None:
    sure, unsure = {"change": -1.0, "p": 0.001}, {"change": -0.1, "p": 0.6}
    assert each_improved([sure, sure]) is True
    assert each_improved([sure, unsure]) is None
    assert each_improved([sure, {"change": 1.0, "p": 0.001}]) is False
    assert each_improved([{"change": -1.0, "p": 0.03}] * 2) is None
    assert each_improved([]) is None


def member(name: str, kind: str) -> Member:
    return Member(name, kind, name, lambda: (net, PREPROCESSING), range(10))  # type: ignore[arg-type, return-value]


def test_ensembles_of_seeds_depths_all_and_pretrained_networks() -> None:
    own = [member(f"{kind} {seed}", kind) for kind in ("resnet56", "resnet20") for seed in (0, 1)]
    others = [member("a", "a"), member("b", "b")]
    assert teams(own, others) == {
        "2 seeds of resnet56": ["resnet56 0", "resnet56 1"],
        "2 seeds of resnet20": ["resnet20 0", "resnet20 1"],
        "both depths, one seed": ["resnet56 0", "resnet20 0"],
        "all nets": [m.name for m in own],
        "others' nets": ["a", "b"],
    }
    assert teams(own[::2], others[:1]) == {"all nets": ["resnet56 0", "resnet20 0"]}
    assert teams([], []) == {}


def findings(view: float, team: float, p: float) -> dict[str, Any]:
    """Changes of the error by views and ensembles, in points."""
    of_view, of_team = {"change": view, "p": p}, {"change": team, "p": p}
    single = {"name": "a", "kind": "a", "changes": {v: of_view for v in VIEWS if v != ONE}}
    together = {"name": "all nets", "best": dict.fromkeys(VIEWS, of_team), "views": of_view}
    return {"singles": [single, single], "together": [together]}


def states(found: dict[str, Any], scale: str) -> list[str]:
    return [verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), SCALES[scale], found)]


def test_verdicts_follow_the_changes_and_their_significance() -> None:
    assert states(findings(-1.0, -1.0, 0.001), "small") == ["holds"] * 4
    assert states(findings(1.0, 1.0, 0.001), "paper") == ["does not hold"] * 4
    assert states(findings(1.0, 1.0, 0.001), "small") == ["not decided"] * 4
    assert states(findings(-1.0, -1.0, 0.3), "paper") == ["not decided"] * 4
    assert states(findings(1.0, -1.0, 0.001), "paper") == ["does not hold"] * 2 + ["holds", "does not hold"]
    assert states({"singles": [], "together": []}, "paper") == ["not decided"] * 4


def test_pretrained_scores_are_in_the_order_of_the_datas_classes(shared_data: Path) -> None:
    dataset = Dataset("made up", CIFAR10[::-1], split_of(10, 32), None, split_of(10, 32))
    found = pretrained_member(
        open_pretrained(str(shared_data / "weights" / "resnet20-12fca82f.th"), dataset), dataset.classes
    )
    assert [CIFAR10[i] for i in found.order] == list(dataset.classes)
    assert found.open()[1].size == 32


def test_the_study_runs_and_its_ensemble_is_the_mean_of_probabilities(tiny: Tiny, studies: Path) -> None:
    result = tiny("ensemble")
    assert {verdict.state for verdict in result.verdicts} == {"not decided"}
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
