"""What `skipway train DATA` chooses, for whatever data."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from skipway import hardware, models
from skipway.data import open_dataset
from skipway.data.dataset import Dataset, Split
from skipway.errors import SkipwayError
from skipway.training import autoconfig
from skipway.training.autoconfig import (
    EMBEDDED,
    EMBEDDED_NET,
    DataFacts,
    choose,
    configure,
    facts_of,
    own_fields,
    with_changes,
    with_weights,
)
from skipway.training.recipe_fields import validate_recipe
from skipway.training.recipes import FINETUNE, HEAD, SCRATCH
from skipway.training.setup import fitted_batch

CPU = hardware.decide(device="cpu", workers=0)
PHOTOGRAPHS = DataFacts(images=245, side=375, channels=3, classes=2, grey=False)
SIZES = (20, 50, 100, 245, 1_000, 5_000, 20_000, 100_000)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKIPWAY_OFFLINE", "1")


def photographs(count: int, side: int, colour: bool = True) -> Dataset:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 256, (count, side, side + 8, 1), dtype=np.uint8).repeat(3, 3)
    items = rng.integers(0, 256, grey.shape, dtype=np.uint8) if colour else grey
    return Dataset("made", ("a", "b"), Split(list(items), np.arange(count) % 2, [str(i) for i in range(count)]))


@pytest.mark.parametrize("images", SIZES)
@pytest.mark.parametrize("side", [8, 28, 64, 96, 375, 2_000])
@pytest.mark.parametrize("start", ["pretrained", "scratch"])
@pytest.mark.parametrize("colour", [True, False])
def test_every_choice_can_be_trained_and_has_many_steps(images: int, side: int, start: str, colour: bool) -> None:
    facts = DataFacts(images, side, 3 if colour else 1, 2, not colour)
    recipe = choose(facts, CPU, start).recipe  # type: ignore[arg-type]
    assert validate_recipe(recipe) == recipe
    models.require_name(recipe.model)
    train = round(images * (1 - recipe.val))
    steps = recipe.iterations or recipe.epochs * (train // fitted_batch(recipe.batch, train))
    assert steps >= 100, "so few steps teach nothing"
    assert bool(recipe.pretrained) == (
        start == "pretrained" and colour and side >= 24 and images < 20_000 + 30_000 * (side > 64)
    )


def test_few_photographs_start_from_the_weights_in_the_package_without_a_network() -> None:
    recipe = choose(PHOTOGRAPHS, CPU).recipe
    assert (recipe.name, recipe.model, recipe.pretrained) == ("finetune", EMBEDDED_NET, EMBEDDED)


def test_weights_within_reach_are_preferred_to_those_in_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoconfig, "is_available", lambda name: name == "resnet18.tv_v1")
    recipe = choose(PHOTOGRAPHS, CPU).recipe
    assert (recipe.model, recipe.pretrained) == ("resnet18", "resnet18.tv_v1")
    assert choose(PHOTOGRAPHS, CPU, model="resnet18").recipe.pretrained == "resnet18.tv_v1"
    assert choose(PHOTOGRAPHS, CPU, model="resnet34").recipe.pretrained == ""


def test_digits_are_not_mirrored_and_learn_from_scratch() -> None:
    facts = facts_of(open_dataset("digits"))
    assert (facts.side, facts.channels, facts.classes) == (8, 1, 10)
    recipe = choose(facts, CPU).recipe
    assert not recipe.flip
    assert not recipe.pretrained


@pytest.mark.parametrize(("colour", "grey"), [(True, False), (False, True)])
def test_facts_are_those_of_the_pixels(colour: bool, grey: bool) -> None:
    assert facts_of(photographs(10, 40, colour)) == DataFacts(10, 40, 3, 2, grey)


def test_an_image_that_cannot_be_read_does_not_keep_a_recipe_from_being_chosen(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(np.full((50, 60, 3), (200, 10, 10), np.uint8)).save(good)
    bad.write_bytes(b"no image")
    dataset = Dataset("made", ("a", "b"), Split([bad, good], np.array([0, 1]), ["bad", "good"]))
    assert facts_of(dataset) == DataFacts(2, 50, 3, 2, False)


def said(dataset: Dataset, recipe=None, changes=None, start="pretrained", budget=None):
    text = io.StringIO()
    console = Console(file=text, width=300)
    return configure(dataset, recipe, changes or {}, start, budget, CPU, console), text.getvalue()


def test_three_lines_say_what_was_chosen_why_and_how_to_choose_otherwise() -> None:
    recipe, text = said(photographs(40, 80))
    lines = text.splitlines()
    assert [line.split(":")[0] for line in lines] == ["chosen", "because", "otherwise"]
    assert f"{recipe.model} from embedded weights, {recipe.size} pixels" in lines[0]
    assert "40 images of 2 classes, 80 pixels" in lines[1]
    assert "--from-scratch" in lines[2] and "--budget" in lines[2]


def test_a_recipe_that_was_asked_for_is_taken_without_words() -> None:
    asked = replace(HEAD, pretrained=EMBEDDED, model=EMBEDDED_NET, size=96)
    recipe, text = said(photographs(40, 80), asked, {"epochs": 3})
    assert recipe == replace(asked, epochs=3)
    assert not text


def test_what_the_user_gave_wins() -> None:
    recipe, _ = said(photographs(40, 80), changes={"size": 64, "epochs": 2, "batch": 4})
    assert (recipe.size, recipe.epochs, recipe.batch) == (64, 2, 4)


def test_the_body_is_frozen_for_the_same_share_of_a_shorter_run() -> None:
    whole, short = (said(photographs(40, 80), changes=changes)[0] for changes in ({}, {"epochs": 8}))
    assert whole.freeze / whole.epochs == pytest.approx(short.freeze / short.epochs, abs=0.1)
    assert 0 < short.freeze < 4
    assert said(photographs(40, 80), changes={"epochs": 8, "freeze": 5})[0].freeze == 5


@pytest.mark.parametrize("recipe", [FINETUNE, HEAD], ids=lambda r: r.name)
def test_weights_that_are_left_to_the_machine_are_named_in_the_recipe(recipe) -> None:
    assert recipe.pretrained == "auto"
    found, _ = said(photographs(40, 80), recipe)
    assert (found.model, found.pretrained) == (EMBEDDED_NET, EMBEDDED)


def test_weights_imply_their_network() -> None:
    facts = facts_of(photographs(10, 80))
    found = with_weights(replace(FINETUNE, pretrained="resnet18.tv_v1"), frozenset({"pretrained"}), facts, CPU)
    assert found.model == "resnet18"
    kept = with_weights(
        replace(FINETUNE, model="resnet34", pretrained="resnet18.tv_v1"), frozenset({"model"}), facts, CPU
    )
    assert kept.model == "resnet34", "and `find` refuses them"


@pytest.mark.parametrize(
    ("weights", "side", "size"),
    [("resnet18.tv_v1", 91, 96), ("resnet18.tv_v1", 500, 160), ("resnet20.akamaster", 32, 0), ("embedded", 500, 112)],
)
def test_photographs_have_a_size_that_suits_weights_and_processor(weights: str, side: int, size: int) -> None:
    facts = replace(PHOTOGRAPHS, side=side)
    assert with_weights(replace(FINETUNE, pretrained=weights), frozenset(), facts, CPU).size == size
    given = with_weights(replace(FINETUNE, pretrained=weights, size=64), frozenset({"size"}), facts, CPU)
    assert given.size == 64


def test_a_budget_shortens_the_run_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(autoconfig, "StepTimer", lambda *_: lambda recipe, _work: 0.01 * recipe.batch)
    cut, text = said(photographs(60, 80), budget=30.0)
    assert "budget: " in text
    assert cut.iterations or cut.only_head
    with pytest.raises(SkipwayError, match="--budget 13s is too short"):
        said(photographs(600, 80), budget=13.0, start="scratch", changes={"model": "resnet152", "size": 224})


def test_epochs_are_the_length_of_a_recipe_that_counts_steps() -> None:
    assert with_changes(SCRATCH, {"epochs": 3}).iterations == 0
    assert with_changes(SCRATCH, {"epochs": 3}).epochs == 3
    assert with_changes(SCRATCH, {"lr": 0.1}).iterations == SCRATCH.iterations
    with pytest.raises(SkipwayError, match="--epochs and --iterations both say how long a run is: give one of them"):
        with_changes(SCRATCH, {"epochs": 3, "iterations": 5})


def test_a_recipe_given_as_an_object_keeps_the_network_that_it_names() -> None:
    assert "model" in own_fields(replace(SCRATCH, model="resnet34"))
    assert not own_fields(SCRATCH)
    assert own_fields(replace(SCRATCH, name="mine")) == set(vars(SCRATCH))
