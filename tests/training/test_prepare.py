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
from skipway.data.preprocess import Preprocessing, for_photographs, for_pixels
from skipway.data.source import Source
from skipway.errors import SkipwayError
from skipway.training.prepare import fed_alike, prepare, wants_recomputation
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


def test_weights_for_large_images_leave_small_ones_whole() -> None:
    record = Preprocessing(3, 224, 256, (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), filter="bicubic")
    small = fed_alike(for_pixels(torch.randint(0, 255, (4, 3, 32, 32), dtype=torch.uint8)), record)
    assert (small.size, small.resize, small.filter) == (32, 32, "bilinear")
    assert (small.mean, small.std) == (record.mean, record.std)


def test_photographs_keep_the_margin_and_the_filter_of_the_weights() -> None:
    record = Preprocessing(3, 288, 288, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), filter="bicubic")
    fed = fed_alike(for_photographs(224), record)
    assert (fed.size, fed.resize, fed.filter, fed.mean) == (224, 224, "bicubic", (0.5, 0.5, 0.5))


def test_grey_images_are_not_fed_by_the_means_of_colours() -> None:
    own = for_pixels(torch.randint(0, 255, (4, 1, 8, 8), dtype=torch.uint8))
    assert fed_alike(own, for_photographs(224)) == own


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
