"""Gradual unfreezing, and batch norm that stays as pretrained for some epochs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small import CPU, EVERY_2, QUIET, SHORT, few_digits, killed_at, same, weights

from skipway import models
from skipway.errors import SkipwayError
from skipway.training import loop
from skipway.training.optimiser import is_first_of_more, layers, layers_learning, norms, optimisers, set_epoch_mode
from skipway.training.recipe_fields import validate_recipe
from skipway.training.recipes import FINETUNE, Recipe

NET = models.build("resnet20", classes=10, channels=1)
COUNT = len(layers(NET))


def learning(recipe: Recipe, epochs: int) -> list[int]:
    """The layers that learn in each epoch, as their parameters say."""
    found = []
    for epoch in range(epochs):
        set_epoch_mode(NET, recipe, epoch)
        free = [any(p.requires_grad for p in layer.parameters()) for layer in layers(NET)]
        assert free == sorted(free), "a layer learns below one that does not"
        found.append(sum(free))
    return found


def test_a_further_layer_learns_after_each_so_many_epochs() -> None:
    assert learning(replace(SHORT, unfreeze=1), COUNT + 2) == [*range(1, COUNT + 1), COUNT, COUNT]
    assert learning(replace(SHORT, unfreeze=2), 6) == [1, 1, 2, 2, 3, 3]
    assert learning(replace(SHORT, freeze=3, unfreeze=1), 6) == [1, 1, 1, 2, 3, 4]


def test_without_it_all_layers_learn_after_freeze() -> None:
    assert learning(replace(SHORT, freeze=2), 4) == [1, 1, COUNT, COUNT]
    assert learning(SHORT, 2) == [COUNT, COUNT]


@pytest.mark.parametrize("fields", [{"unfreeze": 2}, {"freeze": 2}, {"freeze": 1, "unfreeze": 3}, {}])
def test_the_network_is_wrapped_anew_exactly_when_more_of_it_learns(fields: dict[str, Any]) -> None:
    recipe = replace(SHORT, **fields)
    counts = [layers_learning(NET, recipe, epoch) for epoch in range(8)]
    grows = [epoch for epoch in range(1, 8) if counts[epoch] > counts[epoch - 1]]
    assert [epoch for epoch in range(8) if is_first_of_more(NET, recipe, epoch)] == grows


def test_norms_stay_as_pretrained_for_so_many_epochs() -> None:
    recipe = replace(SHORT, pretrained="x", freeze_norm_epochs=2)
    for epoch, fixed in enumerate([True, True, False]):
        set_epoch_mode(NET, recipe, epoch)
        assert {norm.training for norm in norms(NET)} == {not fixed}
        assert {p.requires_grad for norm in norms(NET) for p in norm.parameters()} == {not fixed}
    assert is_first_of_more(NET, recipe, 2)


@pytest.mark.parametrize("optimiser", ["sgd", "adamw", "muon"])
def test_every_parameter_has_one_group(optimiser: Any) -> None:
    recipe = replace(SHORT, optimiser=optimiser, unfreeze=1, freeze_norm_epochs=2, decay_all=False)
    grouped = [p for one in optimisers(NET, recipe) for group in one.param_groups for p in group["params"]]
    assert len(grouped) == len(set(grouped)) == len(list(NET.parameters()))


@pytest.mark.parametrize("optimiser", ["sgd", "muon", "adamw"])
def test_a_run_that_unfreezes_is_resumed_exactly(tmp_path: Path, optimiser: Any) -> None:
    """Parameters that learn later have no momentum before, which a checkpoint must hold too."""
    rate = 0.001 if optimiser == "adamw" else SHORT.lr
    recipe = replace(SHORT, optimiser=optimiser, lr=rate, unfreeze=1, freeze_norm_epochs=0)
    whole = loop.train(few_digits(100), recipe, tmp_path / "whole", CPU, QUIET, options=EVERY_2)
    with killed_at(14):
        loop.train(few_digits(100), recipe, tmp_path / "killed", CPU, QUIET, options=EVERY_2)
    again = loop.train(few_digits(100), recipe, tmp_path / "killed", CPU, QUIET, resume=True, options=EVERY_2)
    assert same(weights(whole), weights(again))


def test_norms_learn_after_their_epochs_and_not_before(tmp_path: Path) -> None:
    start = loop.train(few_digits(100), replace(SHORT, epochs=1), tmp_path / "start", CPU, QUIET)
    recipe = replace(SHORT, pretrained=str(start), freeze_norm_epochs=2, average=0.0)
    short = loop.train(few_digits(100), replace(recipe, epochs=2), tmp_path / "short", CPU, QUIET)
    long = loop.train(few_digits(100), replace(recipe, epochs=3), tmp_path / "long", CPU, QUIET)
    of_norms = [name for name in weights(start) if "running_mean" in name or name == "bn1.weight"]
    assert of_norms
    for name in of_norms:
        assert torch.equal(weights(start)[name], weights(short)[name])
        assert not torch.equal(weights(start)[name], weights(long)[name])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"only_head": True, "unfreeze": 1}, "--unfreeze lets more layers learn"),
        ({"freeze_norm_epochs": 1}, "--freeze-norm-epochs ends what --freeze-norm keeps"),
        ({"freeze_norm": False, "pretrained": "", "freeze_norm_epochs": 1}, "give --pretrained"),
        ({"unfreeze": -1}, "--unfreeze must not be negative"),
        ({"teacher_temperature": 2.0}, "--teacher-temperature needs --teacher RUN"),
        ({"teacher": "x", "teacher_weight": 1.5}, "--teacher-weight must be at most 1"),
    ],
)
def test_fields_that_exclude_each_other_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SkipwayError, match=said):
        validate_recipe(replace(FINETUNE, **fields))
