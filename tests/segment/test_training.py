"""Training on label maps: learnt, resumed exactly; settings that do not suit are refused.

By two processes: training/test_distributed.py.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from shapes import PIXEL_CLASSES, labelled_shapes
from small import killed_at, same, weights

import skipway
from skipway.commands.evaluate import open_run
from skipway.data.loader import Batch
from skipway.data.mask_targets import IGNORE, from_label_maps
from skipway.evaluation.evaluate import score
from skipway.models.base import ModelOutput
from skipway.tasks.segment.losses import cross_entropy
from skipway.tasks.segment.task import AUXILIARY, Segment
from skipway.training import loop
from skipway.training.lr_schedule import lr_multiplier
from skipway.training.run_manifest import RunOptions

from .conftest import CPU, QUIET, TINY


def last(run: Path) -> dict:
    return json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])


def test_sixteen_drawn_images_are_learnt(learnt: Path) -> None:
    assert last(learnt)["val_miou"] > 0.95


def test_permuted_classes_are_not_found(learnt: Path) -> None:
    """The same shapes under the other class: an evaluation that ignored classes would not notice."""
    dataset = labelled_shapes()
    swapped = dataset.train.targets.relabel(np.array([0, 2, 1]), 3)
    wrong = replace(dataset, train=replace(dataset.train, targets=swapped))
    run = open_run(learnt, CPU)
    scored = score(run.card, wrong, wrong.fingerprint, "train", run.scorer)
    assert run.evaluate(scored).metrics["miou"] < 0.4


def test_the_figures_are_those_of_a_confusion_matrix_over_the_predicted_maps(learnt: Path) -> None:
    """The maps that `predict` gives, counted by NumPy."""
    dataset, counts = labelled_shapes(), np.zeros((3, 3), dtype=np.int64)
    predictions = skipway.Predictor(learnt, CPU).predict(list(dataset.train.items))
    for place, prediction in enumerate(predictions):
        truth = dataset.train.targets.label_map(place)  # type: ignore[attr-defined]
        np.add.at(counts, (truth[truth != IGNORE], prediction.labels[truth != IGNORE]), 1)
    found = json.loads((learnt / "report.json").read_text())["metrics"]
    iou = counts.diagonal() / (counts.sum(0) + counts.sum(1) - counts.diagonal())
    assert found["miou"] == pytest.approx(iou.mean(), rel=1e-9)
    assert found["pixel_accuracy"] == pytest.approx(counts.trace() / counts.sum(), rel=1e-9)
    assert found["pixels"] == counts.sum()


def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(tmp_path: Path) -> None:
    """Scale jitter, crops and mirroring are the same again."""
    dataset, recipe = labelled_shapes(6, val=2), replace(TINY, batch=2, iterations=3, crop_size=64)

    def fit(out: Path, resume: bool = False) -> Path:
        return loop.train(dataset, recipe, out, CPU, QUIET, resume, RunOptions(checkpoint_steps=1))

    whole, cut = fit(tmp_path / "whole"), tmp_path / "cut"
    with killed_at(2):
        fit(cut)
    fit(cut, resume=True)
    assert same(weights(whole), weights(cut))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fit": "crop"}, "--fit crop leaves pixels without a class"),
        ({"mixup": 0.2}, "mixup and CutMix are not for label maps"),
        ({"crop": "resized"}, "--crop resized does not move label maps"),
        ({"balance": "sampler"}, "--balance sampler is for one class an image"),
        ({"crop_size": 32}, "--crop-size 32 is too small for label maps: give at least 64"),
        ({"label_smoothing": 0.1}, "--label-smoothing is not for label maps"),
        ({"small": 64, "small_epochs": 1}, "--small-epochs is not for label maps"),
        ({"model": "resnet18"}, "unknown segmenter 'resnet18'"),
    ],
)
def test_settings_that_label_maps_do_not_allow_are_refused_in_one_line(
    changes: dict, message: str, tmp_path: Path
) -> None:
    with pytest.raises(skipway.SkipwayError, match=message) as caught:
        loop.train(labelled_shapes(4, val=2), replace(TINY, **changes), tmp_path / "r", CPU, QUIET)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "r").exists()


def test_other_tasks_refuse_a_loss_of_label_maps(tmp_path: Path) -> None:
    with pytest.raises(skipway.SkipwayError, match="--criterion dice is not for one class"):
        skipway.train("digits", "quick", tmp_path / "r", CPU, QUIET, criterion="dice", epochs=1)


def task(**settings: object) -> Segment:
    dataset = labelled_shapes(4, val=2)
    options = {**vars(TINY), "criterion": "cross-entropy", **settings}
    return Segment.from_classes(PIXEL_CLASSES).for_training(dataset, options, torch.device("cpu"))


def test_balanced_weights_are_the_median_frequency_over_each_class() -> None:
    maps = [np.repeat(np.array([0, 0, 0, 1], np.uint8), 5)[None], np.repeat(np.array([0, 2], np.uint8), 10)[None]]
    dataset = labelled_shapes(4, val=2)
    dataset = replace(dataset, train=replace(dataset.train.take(np.arange(2)), targets=from_label_maps(maps, 3)))
    found = Segment.from_classes(PIXEL_CLASSES).for_training(
        dataset, {**vars(TINY), "balance": "weights"}, torch.device("cpu")
    )
    # class 0: 25 of 40 pixels, 1: 5 of the 20 of its image, 2: 10 of 20
    frequency = np.array([25 / 40, 5 / 20, 10 / 20])
    torch.testing.assert_close(found.weights, torch.tensor(0.5 / frequency).float())
    assert task().weights is None


def test_the_auxiliary_head_adds_its_share_to_the_loss() -> None:
    torch.manual_seed(0)
    main, beside = torch.randn(2, 3, 6, 6), torch.randn(2, 3, 6, 6)
    labels = torch.randint(3, (2, 6, 6), dtype=torch.uint8)
    batch = Batch(torch.zeros(2, 3, 6, 6), labels)
    losses = task().loss(lambda _: ModelOutput(main, (beside,)), batch).losses
    expected = [cross_entropy(scores, labels.long(), None) for scores in (main, beside)]
    torch.testing.assert_close(losses["loss"], expected[0] + AUXILIARY * expected[1])
    alone = task(criterion="dice").loss(lambda _: main, batch)
    assert 0 < alone.losses["loss"] < 1
    counts = task().counts(main, labels)
    assert counts.tolist() == [int((main.argmax(1) == labels).sum()), 72]


def test_the_input_has_the_shape_of_the_images_in_multiples_of_eight() -> None:
    dataset = labelled_shapes(3, val=2)
    tall = from_label_maps([np.zeros((480, 360), np.uint8)] * 2 + [np.zeros((100, 100), np.uint8)], 3)
    dataset = replace(dataset, train=replace(dataset.train, targets=tall))
    segment = Segment.from_classes(PIXEL_CLASSES)
    assert segment.size_for(dataset, gpu=False) == 480
    assert segment.canvas(dataset, 480) == (480, 360)
    assert segment.canvas(dataset, 250) == (248, 184)


def test_the_poly_schedule_falls_from_the_peak_to_nothing() -> None:
    recipe = replace(TINY, schedule="poly", warmup=0.1)
    assert lr_multiplier(recipe, 0.1) == 1
    assert lr_multiplier(recipe, 0.55) == pytest.approx(0.5**0.9)
    assert lr_multiplier(recipe, 1.0) == 0


@pytest.mark.parametrize("every", [1, 2])
def test_val_is_measured_every_so_many_epochs_and_at_the_end(every: int, tmp_path: Path) -> None:
    run = loop.train(
        labelled_shapes(4, val=2), replace(TINY, batch=4, iterations=3, val_every=every), tmp_path / "r", CPU, QUIET
    )
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert ["val_miou" in record for record in records] == ([True] * 3 if every == 1 else [False, True, True])
