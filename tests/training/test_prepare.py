"""What a run is made of: how pretrained images are fed, and that nothing asked for is dropped without a word."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

import skipway
from skipway import hardware, models
from skipway.commands import train
from skipway.data import open_dataset
from skipway.data.dataset import Dataset
from skipway.errors import SkipwayError
from skipway.tasks import Classify, Tag
from skipway.training.recipes import FINETUNE, QUICK, Recipe
from skipway.training.setup import fitted_batch, require_steps, setup_training, wants_recomputation

CPU = hardware.decide(device="cpu", workers=0)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    dataset = open_dataset("digits")
    return replace(dataset, train=dataset.train.take(np.arange(300)), test=None)


def said(dataset: Dataset, recipe: Recipe) -> str:
    """What preparing prints."""
    text = io.StringIO()
    setup_training(dataset, recipe, CPU, Console(file=text, width=200))
    return text.getvalue()


def test_a_bundle_as_pretrained_weights_brings_its_preprocessing(digits: Dataset, tmp_path: Path) -> None:
    run = train.train(digits, replace(QUICK, epochs=1), tmp_path / "first", CPU)
    card = skipway.load(run).card
    recipe = replace(FINETUNE, model="resnet20", pretrained=str(run), size=8, crop="pad", pad=1)
    other = replace(digits, train=digits.train.take(np.arange(150)))
    setup = setup_training(other, recipe, CPU, Console(quiet=True))
    assert list(setup.preprocessing.mean) == list(card.preprocessing["mean"])
    with pytest.raises(SkipwayError, match="holds resnet20, not resnet32"):
        setup_training(other, replace(recipe, model="resnet32"), CPU, Console(quiet=True))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "plain20", "survival": 0.5}, "survival does nothing"),
        ({"model": "preresnet20", "zero_scale": True}, "zero_scale does nothing"),
        ({"recompute": "on"}, "recomputed in the backward pass"),
    ],
)
def test_what_a_network_cannot_do_is_said(digits: Dataset, changes: dict, words: str) -> None:
    assert words in said(digits, replace(QUICK, **changes))
    assert words not in said(digits, QUICK)


def test_networks_without_stages_say_that_they_cannot_compute_again() -> None:
    with torch.device("meta"):
        assert not models.recompute(models.build("alexnet"))
        assert models.recompute(models.build("resnet20"))
        assert models.recompute(models.build("densenet40_12"))


def test_activations_are_computed_again_when_half_of_the_memory_would_not_hold_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = {"name": "resnet20", "classes": 10, "channels": 3, "stem": "small"}
    quiet, task = Console(quiet=True), Classify.from_classes([str(i) for i in range(10)])
    found = []
    for have in (None, 2**40, 2**26):
        monkeypatch.setattr(hardware.Hardware, "memory", lambda _self, have=have: have)
        found.append(wants_recomputation(task, network, replace(QUICK, batch=128), 32, CPU, quiet))
    assert found == [False, False, True]
    assert not wants_recomputation(task, network, replace(QUICK, batch=128, recompute="off"), 32, CPU, quiet)


@pytest.mark.parametrize("small", [3, 9])
def test_small_crops_that_the_network_or_the_images_do_not_allow_are_refused(digits: Dataset, small: int) -> None:
    with pytest.raises(SkipwayError, match=f"--small {small} must be between 4 and 8 pixels for resnet20"):
        said(digits, replace(QUICK, small=small, small_epochs=1))
    said(digits, replace(QUICK, small=4, small_epochs=1))
    said(digits, replace(QUICK, small=8, small_epochs=1))


def test_colours_of_grey_images_are_not_shifted_but_refused(digits: Dataset) -> None:
    with pytest.raises(SkipwayError, match="--colour shifts red, green and blue, and the images have 1 channels"):
        said(digits, replace(QUICK, colour=True))


def test_the_task_is_chosen_by_the_labels(digits: Dataset) -> None:
    quiet = Console(quiet=True)
    columns = replace(digits, train=replace(digits.train, targets=np.eye(10, dtype=np.uint8)[digits.train.labels]))
    smoothing = QUICK.label_smoothing
    assert setup_training(digits, QUICK, CPU, quiet).task == Classify(digits.classes, smoothing)
    assert setup_training(columns, QUICK, CPU, quiet).task == Tag(digits.classes, smoothing)


@pytest.mark.parametrize("images", [2, 9, 15, 20, 50, 137, 245, 1_000, 34_567, 100_000])
@pytest.mark.parametrize("batch", [1, 16, 32, 128, 256, 100_000])
def test_a_batch_suits_the_number_of_images(images: int, batch: int) -> None:
    fitted = fitted_batch(batch, images)
    assert 1 <= fitted <= batch
    assert fitted <= max(images / 10, 8), "an epoch of few images has few steps"
    assert images % fitted <= max(images / 10, images // fitted), "an epoch leaves out a part of the data"
    if batch <= 8 and images >= 100:
        assert fitted == batch, "a small batch is as the user wants it"


def test_a_batch_that_several_processes_share_stays_their_multiple() -> None:
    assert all(fitted_batch(128, images, 3) % 3 == 0 for images in (40, 100, 245, 1_000))


def test_a_batch_that_is_reduced_is_said(digits: Dataset) -> None:
    assert "batch 100000 is reduced to 29: 290 images then give 10 steps an epoch" in said(
        replace(digits, train=digits.train.take(np.arange(290)), val=digits.train.take(np.arange(290, 300))),
        replace(QUICK, batch=100_000),
    )
    assert "reduced" not in said(digits, replace(QUICK, batch=16))


def test_a_run_without_a_step_is_refused(digits: Dataset) -> None:
    setup = setup_training(digits, QUICK, CPU, Console(quiet=True))
    steps = setup.batches.order.steps
    assert require_steps(setup) == QUICK.epochs * steps > 0
    assert require_steps(replace(setup, recipe=replace(QUICK, iterations=7))) == 7
    with pytest.raises(SkipwayError, match="the run has no steps: raise --epochs or lower --batch"):
        require_steps(replace(setup, recipe=replace(QUICK, epochs=0, iterations=0)))


@pytest.mark.parametrize(("recompute", "times"), [("off", 1), ("on", 2)])
def test_recomputed_activations_are_computed_again_in_the_backward_pass(
    digits: Dataset, recompute: str, times: int
) -> None:
    setup = setup_training(digits, replace(QUICK, recompute=recompute), CPU, Console(quiet=True))
    calls = []
    setup.net.get_submodule("layer2.1.conv1").register_forward_hook(lambda *_: calls.append(1))
    setup.net.train()(torch.randn(2, 1, 8, 8)).sum().backward()
    assert setup.recomputed is (recompute == "on")
    assert len(calls) == times
