"""Thresholds of tagging: the best F1 of all, found by trying every one, and none that is an accident of few images."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from skipway.data.dataset import Split
from skipway.data.preprocess import Preprocessing
from skipway.deploy.predict.views import views_named
from skipway.errors import BundleError, SkipwayError
from skipway.tasks import TASKS
from skipway.tasks.base import SplitOutputs
from skipway.tasks.export_reader import ExportedTask
from skipway.tasks.exported import reader_for
from skipway.tasks.tag.present import TagPresenter
from skipway.tasks.tag.task import Tag
from skipway.tasks.tag.thresholds import FEWEST, HIGHEST, LOWEST, best_threshold, choose_thresholds

CLASSES = ("a", "b", "c")


def images(count: int, share: float, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of a class and whether it is there, well ranked; `shift` moves the scores."""
    rng = np.random.default_rng(seed)
    present = rng.random(count) < share
    scores = rng.normal(np.where(present, 1.5, -1.5), 1) + shift
    return (1 / (1 + np.exp(-scores))).astype(np.float32), present


@pytest.mark.parametrize("seed", range(20))
def test_no_threshold_has_a_larger_f1(seed: int) -> None:
    probabilities, present = images(60, 0.3, -1.5, seed)
    found = best_threshold(probabilities, present)
    predicted = probabilities[:, None] > np.linspace(LOWEST, HIGHEST, 2000)
    tried = 2 * (predicted & present[:, None]).sum(0) / (predicted.sum(0) + present.sum())
    assert f1_score(present, probabilities > found) == pytest.approx(tried.max())
    assert LOWEST <= found <= HIGHEST


def test_equal_probabilities_are_not_divided() -> None:
    probabilities = np.array([0.9, 0.3, 0.3, 0.3, 0.1], np.float32)
    assert best_threshold(probabilities, np.array([1, 1, 1, 0, 0], bool)) == pytest.approx(0.2)
    assert best_threshold(np.full(9, 0.3, np.float32), np.arange(9) < 4) == pytest.approx(0.15)
    assert best_threshold(np.zeros(9, np.float32), np.arange(9) < 4) == 0.5


def test_scores_that_are_too_low_get_a_lower_threshold_and_others_keep_a_half() -> None:
    low, there = images(2000, 0.2, -2)
    fair, also = images(2000, 0.5, 0, seed=1)
    rare, seldom = images(2000, 0.2, -2, seed=2)
    seldom = seldom & (np.cumsum(seldom) < FEWEST)
    chosen = choose_thresholds(np.stack([low, fair, rare], 1), np.stack([there, also, seldom], 1).astype(np.uint8))
    assert chosen[0] < 0.35
    assert abs(chosen[1] - 0.5) < 0.15
    assert chosen[2] == 0.5
    new, present = images(2000, 0.2, -2, seed=3)
    assert f1_score(present, new > chosen[0]) > f1_score(present, new > 0.5) + 0.1


def test_noise_does_not_move_a_threshold_that_does_not_hold_elsewhere() -> None:
    moved = 0
    for seed in range(40):
        probabilities, present = images(60, 0.5, 0, seed)
        [chosen] = choose_thresholds(probabilities[:, None], present[:, None])
        moved += chosen != 0.5
        if chosen != 0.5:
            assert chosen == best_threshold(probabilities, present)
    assert moved < 15, "most of these 40 have a half as the best threshold"


def outputs(split: str = "test", trained_on: bool = True) -> SplitOutputs:
    columns = [images(400, 0.3, shift, seed) for seed, shift in enumerate((-2, 0, 1))]
    labels = np.stack([present for _, present in columns], 1).astype(np.uint8)
    probabilities = torch.from_numpy(np.stack([p for p, _ in columns], 1))
    held = Split([b""] * 400, labels, [str(i) for i in range(400)])
    return SplitOutputs("d", split, CLASSES, held, "f", trained_on, (), (probabilities.logit(),), 1.0)


def test_val_chooses_and_test_is_measured_at_what_was_chosen() -> None:
    on_val = Tag(CLASSES).evaluate(outputs("val"), None)
    chosen = on_val.metrics["thresholds"]
    assert len(chosen) == 3 and chosen[0] < 0.4
    task = Tag(CLASSES).chosen_on_val({"val": on_val.metrics})
    assert task.thresholds == tuple(chosen)
    plain, found = Tag(CLASSES).evaluate(outputs(), None), task.evaluate(outputs(), None)
    predicted = outputs().scores.sigmoid().numpy() > np.array(chosen)
    labels = outputs().images.labels
    assert found.metrics["f1_macro"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert found.metrics["f1_micro"] == pytest.approx(f1_score(labels, predicted, average="micro"))
    assert found.metrics["f1_macro_at_half"] == plain.metrics["f1_macro"] < found.metrics["f1_macro"]
    assert found.metrics["exact"] == (predicted == labels).all(1).mean()
    assert (found.predicted == predicted).all()
    for key in ("map", "loss", "ece"):
        assert found.metrics[key] == plain.metrics[key], "no threshold changes it"
    assert [row["threshold"] for row in found.per_class] == chosen
    again = task.evaluate(outputs("val"), None)
    assert again.metrics == on_val.metrics, "val is not measured at what was chosen on it"
    assert "thresholds" not in Tag(CLASSES).evaluate(outputs("val", trained_on=False), None).metrics


def test_without_thresholds_everything_is_as_before() -> None:
    task = Tag(CLASSES)
    assert task.chosen_on_val({}) == task.chosen_on_val({"val": {"n": 3}}) == task
    found = task.evaluate(outputs(), None)
    assert "f1_macro_at_half" not in found.metrics and "threshold" not in found.per_class[0]
    answer = task.predict("x", (torch.tensor([3.0, -3.0, 0.1]),), (1, 1), 1.0, 2)
    assert answer.predicted is None
    assert set(task.presenter.row(answer)) == {"classes"}
    assert task.decoding == {}


def test_predictions_name_the_classes_above_their_thresholds() -> None:
    task = replace(Tag(CLASSES), thresholds=(0.2, 0.9, 0.6))
    scores = torch.tensor([-1.0, 1.0, 2.0])  # 0.27, 0.73 and 0.88; at temperature 2 0.38, 0.62, 0.73
    answer = task.predict("x", (scores,), (1, 1), 1.0, 1)
    assert answer.predicted == ("c", "a") and len(answer.classes) == 1
    assert task.predict("x", (torch.tensor([-9.0, -9.0, -9.0]),), (1, 1), 1.0, 1).predicted == ()
    shown = task.presenter
    assert isinstance(shown, TagPresenter)
    assert shown.row(answer)["predicted"] == ["c", "a"]
    assert dict(zip(shown.csv_header(1), shown.csv_rows(answer, 1)[0], strict=True))["predicted"] == "c;a"
    assert dict(zip(shown.table_columns, shown.table_row(answer), strict=True))["predicted"] == "c, a"
    assert len(shown.csv_rows(None, 2)[0]) == len(shown.csv_header(2))
    assert task.decoding == {"thresholds": [0.2, 0.9, 0.6]}


@pytest.mark.parametrize("wrong", [[0.5], [0.5, 0.5, 1.5], [0.5, 0.5, "x"], "abc", [0.1, 0.2, True]])
def test_other_thresholds_than_one_a_class_are_refused(wrong: object) -> None:
    with pytest.raises(ValueError, match="thresholds are not a number between 0 and 1 for each class"):
        Tag(CLASSES).chosen_on_val({"val": {"thresholds": wrong}})


def test_views_are_averaged_for_classes_and_refused_in_one_line_for_boxes_and_label_maps() -> None:
    preprocessing = Preprocessing(3, 32, 36, (0.5,) * 3, (0.25,) * 3)
    for name in ("tag", "classify"):
        for protocol in ("flip", "ten-crop"):
            assert views_named(protocol, TASKS[name].from_classes(CLASSES), preprocessing)
    for name in ("detect", "segment"):
        with pytest.raises(SkipwayError, match=r"of several views are not averaged: leave out --protocol$") as caught:
            views_named("flip", TASKS[name].from_classes(CLASSES), preprocessing)
        assert "\n" not in str(caught.value)


def test_an_export_is_read_as_the_network_predicts() -> None:
    task = replace(Tag(CLASSES), thresholds=(0.2, 0.9, 0.6))
    fitting = Preprocessing(3, 32, 36, (0.5,) * 3, (0.25,) * 3)
    exported = ExportedTask("tag", CLASSES, {}, task.decoding, fitting)
    for scores in torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 2:
        outputs = {"probabilities": (scores / 1.3).sigmoid().numpy()}
        read = reader_for(exported).predict("x", outputs, (1, 1), 2, None)
        assert read == task.predict("x", (scores,), (1, 1), 1.3, 2)
    assert isinstance(reader_for(exported).presenter, TagPresenter)
    assert not isinstance(reader_for(exported._replace(decoding={})).presenter, TagPresenter)
    with pytest.raises(BundleError, match="its thresholds are not a number between 0 and 1"):
        reader_for(exported._replace(decoding={"thresholds": [2.0, 0.5, 0.5]}))
