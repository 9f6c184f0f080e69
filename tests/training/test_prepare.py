"""What a run is made of: how pretrained images are fed, and that nothing asked for is dropped without a word."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from skipway import api, hardware, models
from skipway.data import open_source
from skipway.data.source import Source
from skipway.errors import SkipwayError
from skipway.tasks import Classify, Tag
from skipway.training.prepare import prepare, wants_recomputation
from skipway.training.recipes import FINETUNE, QUICK, Recipe

CPU = hardware.decide(device="cpu", workers=0)


@pytest.fixture(scope="module")
def digits() -> Source:
    source = open_source("digits")
    return replace(source, train=source.train.take(np.arange(300)), test=None)


def said(source: Source, recipe: Recipe) -> str:
    """What preparing prints."""
    text = io.StringIO()
    prepare(source, recipe, CPU, Console(file=text, width=200))
    return text.getvalue()


def test_a_bundle_as_pretrained_weights_brings_its_preprocessing(digits: Source, tmp_path: Path) -> None:
    run = api.train(digits, replace(QUICK, epochs=1), tmp_path / "first", CPU)
    _, card = api.load(run)
    recipe = replace(FINETUNE, model="resnet20", pretrained=str(run), size=8, crop="pad", pad=1)
    other = replace(digits, train=digits.train.take(np.arange(150)))
    prepared = prepare(other, recipe, CPU, Console(quiet=True))
    assert list(prepared.preprocessing.mean) == list(card.preprocessing["mean"])
    with pytest.raises(SkipwayError, match="holds resnet20, not resnet32"):
        prepare(other, replace(recipe, model="resnet32"), CPU, Console(quiet=True))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "plain20", "survival": 0.5}, "survival does nothing"),
        ({"model": "preresnet20", "zero_scale": True}, "zero_scale does nothing"),
        ({"recompute": "on"}, "computed again in the backward pass"),
    ],
)
def test_what_a_network_cannot_do_is_said(digits: Source, changes: dict, words: str) -> None:
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
    quiet = Console(quiet=True)
    found = []
    for have in (None, 2**40, 2**26):
        monkeypatch.setattr(hardware.Hardware, "memory", lambda _self, have=have: have)
        found.append(wants_recomputation(network, replace(QUICK, batch=128), 32, CPU, quiet))
    assert found == [False, False, True]
    assert not wants_recomputation(network, replace(QUICK, batch=128, recompute="off"), 32, CPU, quiet)


@pytest.mark.parametrize("small", [3, 9])
def test_small_crops_that_the_network_or_the_images_do_not_allow_are_refused(digits: Source, small: int) -> None:
    with pytest.raises(SkipwayError, match=f"--small {small} must be between 4 and 8 pixels for resnet20"):
        said(digits, replace(QUICK, small=small, small_epochs=1))
    said(digits, replace(QUICK, small=4, small_epochs=1))
    said(digits, replace(QUICK, small=8, small_epochs=1))


def test_colours_of_grey_images_are_not_shifted_but_refused(digits: Source) -> None:
    with pytest.raises(SkipwayError, match="--colour shifts red, green and blue, and the images have 1 channels"):
        said(digits, replace(QUICK, colour=True))


def test_the_task_is_chosen_by_the_labels(digits: Source) -> None:
    quiet = Console(quiet=True)
    columns = replace(digits, train=replace(digits.train, labels=np.eye(10, dtype=np.uint8)[digits.train.labels]))
    assert prepare(digits, QUICK, CPU, quiet).task == Classify(digits.classes)
    assert prepare(columns, QUICK, CPU, quiet).task == Tag(digits.classes)
