"""Cross-validation: that each image is evaluated once, by a network that did not see it, also after a kill."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import MakePhotos
from rich.console import Console
from sklearn.metrics import accuracy_score
from sklearn.model_selection import StratifiedKFold
from small import CPU, QUIET, SHORT, Killed, before_step, same, weights

import skipway
from skipway import bundle
from skipway.commands.chosen_training import ChosenTraining
from skipway.commands.cross_validate import CrossValidation, cross_validate, fold_places, pooled
from skipway.commands.evaluate import evaluate
from skipway.data.dataset import Dataset, Split
from skipway.data.read_options import ReadOptions
from skipway.data.targets import ClassTargets, MultiLabelTargets
from skipway.errors import SkipwayError
from skipway.training import loop

FIELDS: dict[str, Any] = {"size": 16, "epochs": 2, "batch": 8, "val": 0.2, "seed": 3}
FOLDS = 3


@pytest.fixture(scope="module")
def photos(make_photos: MakePhotos, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("folds") / "photos", each=9)


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrossValidation]:
    out = tmp_path_factory.mktemp("whole") / "cv"
    yield cross_validate(photos, FOLDS, "quick", out, CPU, **FIELDS)


def test_each_image_is_evaluated_once_by_a_network_that_did_not_learn_from_it(
    photos: Path, whole: CrossValidation
) -> None:
    names = list(skipway.open_dataset(str(photos)).train.names)
    evaluated = []
    for run in whole.runs:
        report = json.loads((run.path / "report.json").read_text())
        evaluated += [row["name"] for row in report["predictions"]]
        counts = run.card.data["counts"]
        assert counts["train"] + counts["val"] + counts["test"] == len(names)
    assert sorted(evaluated) == sorted(names)


def test_the_pooled_figure_is_the_accuracy_of_all_predictions(whole: CrossValidation) -> None:
    rows = [row for run in whole.runs for row in json.loads((run.path / "report.json").read_text())["predictions"]]
    expected = accuracy_score([row["label"] for row in rows], [row["predicted"] for row in rows])
    assert whole.metrics["top1"] == pytest.approx(expected)
    assert whole.metrics["n"] == len(rows)
    low, high = whole.metrics["top1_interval"]
    assert low < expected < high
    pooled = json.loads((whole.path / "report.json").read_text())["predictions"]
    assert sorted((row["name"], row["predicted"]) for row in pooled) == sorted(
        (row["name"], row["predicted"]) for row in rows
    )


def test_the_run_of_a_fold_is_not_evaluated_on_what_it_learned_from_without_a_word(
    tmp_path: Path, whole: CrossValidation
) -> None:
    text = io.StringIO()
    evaluate(whole.runs[0].path, out=tmp_path, hardware=CPU, console=Console(file=text, width=400))
    assert "was trained on other images of" in text.getvalue()
    assert "may have learned from some of these" in text.getvalue()


def test_mean_and_deviation_are_numpys(whole: CrossValidation) -> None:
    figures = [run.metrics["top1"] for run in whole.runs]
    assert whole.figures == tuple(figures)
    assert whole.mean == pytest.approx(np.mean(figures))
    assert whole.deviation == pytest.approx(np.std(figures, ddof=1))
    assert "each once by the network that did not learn from its fold" in (whole.path / "report.html").read_text()


def test_thresholds_that_one_fold_chose_are_not_used_for_the_images_of_all(tmp_path: Path) -> None:
    labels = (np.random.default_rng(0).random((40, 2)) < 0.5).astype(np.uint8)
    pixels = np.zeros((40, 8, 8, 1), np.uint8)
    dataset = Dataset("tags", ("a", "b"), Split(pixels, labels, [f"tags[{i}]" for i in range(40)]))
    recipe = replace(SHORT, epochs=1, size=8, seed=0)
    chosen = ChosenTraining(dataset, recipe, CPU, QUIET)
    chosen_on_val = {"n": 4, "map": 1.0, "f1_macro": 1.0, "thresholds": [0.9, 0.9]}
    for fold in (1, 2):
        loop.train(dataset, recipe, tmp_path / f"fold-{fold}", CPU, QUIET)
        bundle.add_metrics(tmp_path / f"fold-{fold}", "val", chosen_on_val, "")
    places = fold_places(dataset.train.targets, dataset.classes, 2, recipe.seed)
    scores = [(torch.from_numpy(labels[place]).float() - 0.5) * 2 for place in places]  # probabilities 0.27 and 0.73
    found = pooled(tmp_path, chosen, [dataset, dataset], [(1.0, (one,)) for one in scores])
    assert found.metrics["f1_macro"] == 1


@pytest.mark.parametrize("step", [2, 6, 9])
def test_a_cross_validation_that_was_killed_ends_with_the_same_networks(
    tmp_path: Path, photos: Path, whole: CrossValidation, step: int
) -> None:
    """At steps of the first, the second and the third fold, and between two checkpoints."""
    out = tmp_path / "cv"

    def die() -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        before_step(patch, step, die)
        cross_validate(photos, FOLDS, "quick", out, CPU, **FIELDS)
    finished = [file.stat().st_mtime_ns for file in sorted(out.glob("fold-*/scores.safetensors"))]
    again = cross_validate(resume=out)
    assert [file.stat().st_mtime_ns for file in sorted(out.glob("fold-*/scores.safetensors"))][: len(finished)] == (
        finished
    )
    assert all(same(weights(one.path), weights(other.path)) for one, other in zip(whole.runs, again.runs, strict=True))
    assert again.figures == whole.figures
    assert again.metrics == whole.metrics


def test_folds_are_scikit_learns() -> None:
    labels = np.random.default_rng(0).integers(0, 3, 60)
    theirs = [fold for _, fold in StratifiedKFold(5, shuffle=True, random_state=7).split(labels, labels)]
    ours = fold_places(ClassTargets(labels), ("a", "b", "c"), 5, seed=7)
    assert all(np.array_equal(one, np.sort(other)) for one, other in zip(ours, theirs, strict=True))


def test_folds_of_several_classes_an_image_have_equal_shares_of_each() -> None:
    labels = (np.random.default_rng(0).random((200, 3)) < [0.5, 0.2, 0.1]).astype(np.uint8)
    folds = fold_places(MultiLabelTargets(labels), ("a", "b", "c"), 4, seed=0)
    assert np.array_equal(np.sort(np.concatenate(folds)), np.arange(200))
    shares = np.array([labels[fold].sum(0) for fold in folds])
    assert (shares.max(0) - shares.min(0) <= 3).all()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"folds": 1}, "--folds 1 is not from 2 to 27"),
        ({"folds": 10}, r"class 'across' has 9 images, fewer than 10 folds: give --folds 9 or fewer"),
        (
            {"recipe": None, "reading": ReadOptions(task="generate"), "model": "unet8"},
            "is for predictions, and this generates",
        ),
        ({"resume": "nowhere"}, "nowhere holds no cross-validation to resume"),
        ({"model": "resnet21"}, "resnet21"),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    tmp_path: Path, photos: Path, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(SkipwayError, match=said):
        cross_validate(photos, **{"out": tmp_path / "cv", "hardware": CPU, **arguments})
    assert not (tmp_path / "cv").exists()


def test_results_are_never_written_over_others(photos: Path, whole: CrossValidation) -> None:
    with pytest.raises(SkipwayError, match="is not empty: choose another --out"):
        cross_validate(photos, FOLDS, "quick", whole.path, CPU, **FIELDS)


def test_data_that_have_changed_are_not_gone_on_with(
    tmp_path: Path, make_photos: MakePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("skipway.commands.cross_validate.outputs_of_fold", lambda *_: (_ for _ in ()).throw(Killed))
    data = make_photos(tmp_path / "photos", each=4)
    with pytest.raises(Killed):
        cross_validate(data, 2, "quick", tmp_path / "cv", CPU, **FIELDS)
    (data / "across" / "across-0.jpg").unlink()
    with pytest.raises(SkipwayError, match=r"the data of .* have changed"):
        cross_validate(resume=tmp_path / "cv")
