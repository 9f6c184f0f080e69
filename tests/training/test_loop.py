"""A run from source to bundle."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import skipway
from skipway import bundle, hardware, models
from skipway.commands import train
from skipway.data import open_dataset
from skipway.data.dataset import Dataset, Split, match_classes
from skipway.errors import SkipwayError
from skipway.training import dataloaders, loop, validation
from skipway.training.recipes import QUICK, Recipe

QUIET = Console(quiet=True)
SHORT = replace(QUICK, epochs=3)


@pytest.fixture(scope="module")
def settings() -> hardware.Hardware:
    return hardware.decide(device="cpu", workers=0)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """A few hundred digits, so that a run takes a second or two."""
    dataset = open_dataset("digits")
    return replace(
        dataset, train=dataset.train.take(np.arange(300)), test=dataset.test and dataset.test.take(np.arange(60))
    )


def weights(run: Path) -> dict[str, torch.Tensor]:
    return bundle.read_weights(run)


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_leaves_a_bundle_that_verifies_and_a_line_an_epoch(
    digits: Dataset, settings: hardware.Hardware, tmp_path: Path
) -> None:
    run = loop.train(digits, replace(SHORT, batch=20), tmp_path / "run", settings, QUIET)
    card = bundle.read_card(run)
    assert card.recipe["epochs"] == 3
    tenths = sum(round(0.1 * n) for n in digits.train.counts(10))
    assert card.data["counts"] == {"train": 300 - tenths, "val": tenths, "test": 60}
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [r["epoch"] for r in records] == [1, 2, 3]
    assert records[-1]["step"] == 3 * ((300 - tenths) // 20)
    assert {"train_loss", "train_top1", "val_loss", "val_top1", "waiting", "images_per_second", "rate"} <= records[
        0
    ].keys()


def test_equal_seeds_give_equal_weights_and_other_seeds_others(
    digits: Dataset, settings: hardware.Hardware, tmp_path: Path
) -> None:
    one, two, other = (
        weights(loop.train(digits, replace(SHORT, epochs=1, seed=seed), tmp_path / name, settings, QUIET))
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    )
    assert same(one, two)
    assert not same(one, other)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimiser": "adamw", "lr": 0.002, "mixup": 0.2, "cutmix": 1.0, "balance": "sampler", "average": 0.0},
        {"balance": "weights", "small": 6, "small_epochs": 2},
    ],
)
def test_a_resumed_run_ends_like_the_run_that_was_not_interrupted(
    digits: Dataset, settings: hardware.Hardware, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict
) -> None:
    recipe = replace(SHORT, **changes)
    whole = loop.train(digits, recipe, tmp_path / "whole", settings, QUIET)
    calls = []
    validate = validation.validate

    def interrupted(*given: object) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return validate(*given)

    with monkeypatch.context() as patched:
        patched.setattr(validation, "validate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loop.train(digits, recipe, tmp_path / "cut", settings, QUIET)
    assert not (tmp_path / "cut" / bundle.SUMS).exists()
    cut = loop.train(digits, recipe, tmp_path / "cut", settings, QUIET, resume=True)
    assert same(weights(whole), weights(cut))
    losses = [
        [json.loads(line)["train_loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (whole, cut)
    ]
    assert losses[0] == losses[1]


def test_resuming_with_another_recipe_or_other_data_is_refused_and_named(
    digits: Dataset, settings: hardware.Hardware, tmp_path: Path
) -> None:
    run = loop.train(digits, replace(SHORT, epochs=1), tmp_path / "run", settings, QUIET)
    with pytest.raises(SkipwayError, match=r"another recipe \(epochs\)"):
        loop.train(digits, replace(SHORT, epochs=2), run, settings, QUIET, resume=True)
    fewer = replace(digits, train=digits.train.take(np.arange(299)))
    with pytest.raises(SkipwayError, match="started with other data"):
        loop.train(fewer, replace(SHORT, epochs=1), run, settings, QUIET, resume=True)


def test_nothing_in_a_run_depends_on_test_images(digits: Dataset, settings: hardware.Hardware, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    spoiled = replace(digits, test=Split(noise, np.zeros(60, dtype=np.int64), [""] * 60))
    one = loop.train(digits, replace(SHORT, epochs=1), tmp_path / "a", settings, QUIET)
    two = loop.train(spoiled, replace(SHORT, epochs=1), tmp_path / "b", settings, QUIET)
    assert same(weights(one), weights(two))


def test_a_run_leaves_the_callers_random_state_alone(
    digits: Dataset, settings: hardware.Hardware, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    loop.train(digits, replace(SHORT, epochs=1), tmp_path / "run", settings, QUIET)
    assert torch.equal(before, torch.get_rng_state())


def test_the_mean_of_training_accuracy_counts_every_image_once(
    digits: Dataset, settings: hardware.Hardware, tmp_path: Path
) -> None:
    """With a vanishing rate the network stands still, so an epoch's accuracy is that of the fresh network."""
    recipe = replace(
        SHORT, epochs=1, lr=1e-30, weight_decay=0.0, batch=30, val=0.0, crop="none", average=0.0, label_smoothing=0.0
    )
    run = loop.train(digits, recipe, tmp_path / "run", settings, QUIET)
    record = json.loads((run / "metrics.jsonl").read_text())
    assert round(record["train_top1"] * 300) == pytest.approx(record["train_top1"] * 300, abs=1e-3)
    assert record["train_loss"] == pytest.approx(np.log(10), abs=0.15)


def test_weights_of_a_bundle_start_a_finetuning_with_a_fresh_classifier(
    digits: Dataset, settings: hardware.Hardware, tmp_path: Path
) -> None:
    run = loop.train(digits, replace(SHORT, epochs=1), tmp_path / "base", settings, QUIET)
    few = digits.train.labels < 4
    dataset = Dataset("four", digits.classes[:4], digits.train.take(np.flatnonzero(few)))
    tuned = replace(SHORT, epochs=1, pretrained=str(run), freeze=1, freeze_norm=True, average=0.0)
    tuned_run = loop.train(dataset, tuned, tmp_path / "tuned", settings, QUIET)
    before, after = weights(run), weights(tuned_run)
    assert after["fc.weight"].shape == (4, 64)
    assert all(torch.equal(before[k], after[k]) for k in before if not k.startswith("fc."))


def test_a_folder_of_photographs_is_learned_to_the_last_one(
    shared_data: Path, tmp_path: Path, settings: hardware.Hardware
) -> None:
    """Class folders of real photographs, few enough that the network must be able to tell them all apart."""
    names = sorted((shared_data / "photos").glob("*.JPEG"))[:12:2]
    for i, file in enumerate(names):
        folder = tmp_path / "photos" / f"class{i % 3}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file.name).write_bytes(file.read_bytes())
    recipe = Recipe(
        "overfit",
        model="resnet20",
        size=32,
        val=0.0,
        epochs=40,
        batch=6,
        lr=0.4,
        crop="none",
        flip=False,
        schedule="cosine",
    )
    run = train.train(str(tmp_path / "photos"), recipe, tmp_path / "run", settings)
    found = skipway.evaluate(run, split="train", hardware=settings)
    assert found.metrics["top1"] == 1.0
    assert found.metrics["n"] == 6


def test_large_photographs_train_through_workers(
    shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataloaders, "decoded_side", lambda *_: None)  # as where memory does not hold them
    for i, file in enumerate(sorted((shared_data / "photos").glob("*.JPEG"))[:8]):
        folder = tmp_path / "photos" / f"class{i % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file.name).write_bytes(file.read_bytes())
    recipe = Recipe(
        "two steps", model="resnet18", size=96, val=0.25, epochs=1, batch=3, lr=0.01, crop="resized", mixup=0.2
    )
    settings = hardware.decide(device="cpu", workers=1)
    run = train.train(str(tmp_path / "photos"), recipe, tmp_path / "run", settings)
    card = run.card
    assert card.data["counts"] == {"train": 6, "val": 2}
    assert card.network["stem"] == "imagenet"
    assert card.preprocessing["resize"] == 110  # 96 * 256 / 224
    assert card.metrics["val"]["n"] == 2


def test_classes_are_matched_by_name_not_by_place(digits: Dataset) -> None:
    turned = replace(
        digits, classes=digits.classes[::-1], train=replace(digits.train, targets=9 - digits.train.labels), test=None
    )
    assert np.array_equal(match_classes(turned, digits.classes).train.labels, digits.train.labels)
    with pytest.raises(SkipwayError, match="does not have: 9"):
        match_classes(digits, digits.classes[:9])


def test_too_small_an_image_is_refused_with_the_smallest(
    digits: Dataset, settings: hardware.Hardware, tmp_path: Path
) -> None:
    with pytest.raises(SkipwayError, match="too small for resnet20: the smallest is 4"):
        loop.train(digits, replace(SHORT, size=3), tmp_path / "run", settings, QUIET)
    assert not (tmp_path / "run").exists()


def test_every_network_takes_a_step_of_every_shortcut() -> None:
    for shortcut in ("A", "B", "C"):
        net = models.build("resnet20", 3, 1, shortcut=shortcut)
        net(torch.randn(2, 1, 8, 8)).sum().backward()
        assert all(p.grad is not None for p in net.parameters())
