"""Runs on images that have any number of classes."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from skipway import bundle, hardware
from skipway.data.dataset import Dataset, Split
from skipway.data.loader import Batch
from skipway.errors import SkipwayError
from skipway.tasks import Tag
from skipway.training import loop
from skipway.training.recipes import QUICK
from skipway.training.setup import setup_training

CPU = hardware.decide(device="cpu", workers=0)
QUIET = Console(quiet=True)
SHORT = replace(QUICK, epochs=2, batch=16, average=0.0, pad=0)
CORNERS = ("top left", "top right", "bottom left", "bottom right")


def corners(count: int, seed: int = 0) -> Split:
    """Grey noise of 8 pixels a side; a tag for each corner that is bright, each with a chance of a third."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, 4)) < 1 / 3).astype(np.uint8)
    light = labels.reshape(count, 2, 2).repeat(4, 1).repeat(4, 2)[..., None]
    pixels = rng.integers(0, 60, (count, 8, 8, 1)) + 150 * light
    return Split(pixels.astype(np.uint8), labels, [f"corners[{i}]" for i in range(count)])


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return Dataset("corners", CORNERS, corners(96))


def records(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_small_set_is_learned_to_the_last_tag(dataset: Dataset, tmp_path: Path) -> None:
    recipe = replace(SHORT, epochs=16, crop="none", label_smoothing=0.0)
    run = loop.train(replace(dataset, val=dataset.train), recipe, tmp_path / "run", CPU, QUIET)
    last = records(run)[-1]
    assert (last["val_map"], last["val_f1_micro"], last["val_f1_macro"]) == pytest.approx((1, 1, 1))
    assert last["train_f1_micro"] > 0.99
    card = bundle.read_card(run)
    assert (card.task, card.classes, card.network["classes"]) == ("tag", list(CORNERS), 4)


def test_the_task_follows_from_the_labels_and_is_said_with_the_figures(dataset: Dataset, tmp_path: Path) -> None:
    text = io.StringIO()
    run = loop.train(dataset, SHORT, tmp_path / "run", CPU, Console(file=text, width=400))
    said = text.getvalue()
    assert "task tag (any number of classes an image); 4 classes" in said
    assert "chance gives 0.693" in said
    assert "warning" not in said
    assert all(word in said for word in ("train F1 ", "val mAP ", "val F1 "))
    for record in records(run):
        assert {"train_loss", "train_f1_micro", "train_f1_macro"} <= record.keys()
        assert {"val_loss", "val_map", "val_f1_micro", "val_f1_macro"} <= record.keys()
        assert not {key for key in record if "top" in key}
    counts = bundle.read_card(run).data["counts"]
    assert counts["train"] + counts["val"] == 96
    assert counts["val"] == pytest.approx(9.6, abs=2)


@pytest.mark.parametrize("changes", [{"mixup": 0.2}, {"cutmix": 1.0}, {"mixup": 0.2, "cutmix": 1.0}])
def test_mixed_images_train_and_are_not_counted_as_right_or_wrong(
    dataset: Dataset, tmp_path: Path, changes: dict
) -> None:
    run = loop.train(dataset, replace(SHORT, epochs=1, **changes), tmp_path / "run", CPU, QUIET)
    (record,) = records(run)
    assert np.isfinite(record["train_loss"])
    assert "train_f1_micro" not in record
    assert "val_map" in record


@pytest.mark.parametrize("balance", ["weights", "sampler"])
def test_a_start_at_even_odds_is_known_under_any_balance(dataset: Dataset, tmp_path: Path, balance: str) -> None:
    """Weighted losses are larger or smaller than ln 2; what even odds cost is computed from the batch itself."""
    few = np.flatnonzero((dataset.train.labels.sum(1) == 0) | (np.arange(96) < 12))
    rare = replace(dataset, train=dataset.train.take(few))
    text = io.StringIO()
    recipe = replace(SHORT, epochs=1, balance=balance, val=0.0)
    loop.train(rare, recipe, tmp_path / "run", CPU, Console(file=text, width=400))
    assert "warning" not in text.getvalue()
    assert text.getvalue().count("first loss") == 1, "which is of one step, and waits for the device"


def test_weights_of_tags_enter_the_loss_of_a_run(dataset: Dataset) -> None:
    setup = setup_training(dataset, replace(SHORT, balance="weights", label_smoothing=0.0), CPU, QUIET)
    assert isinstance(setup.task, Tag)
    targets = torch.tensor([[1, 0, 0, 0]], dtype=torch.uint8)
    batch = Batch(torch.zeros(1, 4), targets)
    even = setup.task.loss(lambda images: images, batch).losses["loss"].item()
    having = setup.dataset.train.labels[:, 0].sum()
    ratio = (len(setup.dataset.train) - having) / having
    assert even == pytest.approx(np.log(2) * (ratio + 3) / 4, rel=1e-5)


def test_tags_that_tell_nothing_apart_are_refused_before_a_folder_is_left(dataset: Dataset, tmp_path: Path) -> None:
    blank = replace(dataset, train=replace(dataset.train, targets=np.zeros((96, 4), dtype=np.uint8)))
    with pytest.raises(SkipwayError, match="no class that some training images have and others lack"):
        loop.train(blank, SHORT, tmp_path / "run", CPU, QUIET)
    assert not (tmp_path / "run").exists()
