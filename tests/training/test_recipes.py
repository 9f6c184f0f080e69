"""Recipes, the rate over a run, and which parameters learn."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from small import CPU, QUIET, few_digits, weights

from skipway import bundle, models
from skipway.data.loader import derive_seed
from skipway.errors import SkipwayError
from skipway.training import loop
from skipway.training.lr_schedule import lr_multiplier
from skipway.training.optimiser import groups, norms, optimisers, set_rate, set_training_mode
from skipway.training.recipe_fields import FIELDS, MEANING, parse, validate_recipe
from skipway.training.recipes import (
    FINETUNE,
    HE2015_CIFAR,
    HE2015_CIFAR_110,
    MODERN,
    QUICK,
    RECIPES,
    Recipe,
    find_recipe,
)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda r: r.name)
def test_every_recipe_is_valid_and_survives_json(recipe: Recipe) -> None:
    values = json.loads(json.dumps(asdict(validate_recipe(recipe))))
    back = Recipe(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    assert back == recipe


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=lambda r: r.name)
def test_the_batch_of_every_recipe_is_shared_evenly_by_up_to_eight_processes(recipe: Recipe) -> None:
    assert recipe.batch % 8 == 0


@pytest.mark.parametrize(
    ("iteration", "rate"), [(0, 0.1), (31_999, 0.1), (32_000, 0.01), (47_999, 0.01), (48_000, 0.001)]
)
def test_he2015_has_the_papers_rate_at_the_papers_iterations(iteration: int, rate: float) -> None:
    assert HE2015_CIFAR.iterations == 64_000
    assert HE2015_CIFAR.batch == 128
    assert HE2015_CIFAR.peak_rate() * lr_multiplier(HE2015_CIFAR, iteration / 64_000) == pytest.approx(rate)


@pytest.mark.parametrize(("iteration", "rate"), [(0, 0.01), (399, 0.01), (400, 0.1), (32_000, 0.01), (48_000, 0.001)])
def test_110_layers_warm_up_at_a_hundredth_for_400_iterations(iteration: int, rate: float) -> None:
    assert HE2015_CIFAR_110.peak_rate() * lr_multiplier(HE2015_CIFAR_110, iteration / 64_000) == pytest.approx(rate)


def test_the_rate_follows_the_batch() -> None:
    assert replace(HE2015_CIFAR, batch=512).peak_rate() == pytest.approx(0.4)


def test_cosine_and_linear_end_at_zero_and_peak_after_the_warmup() -> None:
    for schedule in ("cosine", "linear", "onecycle"):
        recipe = replace(QUICK, schedule=schedule, warmup=0.2)
        assert lr_multiplier(recipe, 0.2) == pytest.approx(1)
        assert lr_multiplier(recipe, 1.0) == pytest.approx(0, abs=1e-12)
        assert lr_multiplier(recipe, 0.1) < lr_multiplier(recipe, 0.19) < 1
    middle = lr_multiplier(replace(QUICK, schedule="cosine", warmup=0.0), 0.25)
    assert middle == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert lr_multiplier(replace(QUICK, schedule="linear", warmup=0.0), 0.25) == pytest.approx(0.75)


def test_onecycle_is_torchs() -> None:
    """OneCycleLR over the same number of steps, with its own initial factor of 1/25."""
    steps = 50
    recipe = replace(QUICK, schedule="onecycle", warmup=0.3)
    dummy = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(dummy, 1.0, total_steps=steps + 1, pct_start=0.3 * (steps + 1) / steps)
    for step in range(steps + 1):
        # torch counts its turning point in whole steps less one, hence the tolerance
        assert theirs.get_last_lr()[0] == pytest.approx(lr_multiplier(recipe, step / steps), abs=0.08)
        dummy.step()
        theirs.step()


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("epochs", "3", 3),
        ("lr", "1e-2", 0.01),
        ("flip", "false", False),
        ("milestones", "0.3,0.6", (0.3, 0.6)),
        ("crop", "pad", "pad"),
        ("background", "1,2,3", (1, 2, 3)),
        ("background", "white", (255, 255, 255)),
        ("background", "black", (0, 0, 0)),
        ("milestones", "", ()),
    ],
)
def test_fields_are_read_from_the_command_line(field: str, text: str, value: object) -> None:
    assert parse(field, text) == value


@pytest.mark.parametrize(
    ("field", "text", "said"),
    [
        ("epochs", "three", "--epochs must be a whole number"),
        ("flip", "maybe", "true or false"),
        ("milestones", "a,b", "commas"),
        ("background", "red", "white, black, or R,G,B"),
        ("background", "0.5,0,0", "white, black, or R,G,B"),
    ],
)
def test_values_of_the_wrong_kind_are_refused_by_name(field: str, text: str, said: str) -> None:
    with pytest.raises(SkipwayError, match=said):
        parse(field, text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epochs": -1}, "--epochs must not be negative"),
        ({"epochs": 0}, "--epochs must be above 0"),
        ({"batch": 0}, "--batch must be above 0"),
        ({"lr": -0.1}, "--lr must be above 0"),
        ({"val": 1.0}, "--val must be below 1"),
        ({"crop": "pads"}, "did you mean 'pad'"),
        ({"factors": (1.0,)}, "--factors"),
        ({"freeze_norm": True}, "--freeze-norm"),
        ({"lr": float("nan")}, "--lr"),
        ({"balance": "weight"}, "did you mean 'weights'"),
        ({"fit": "pads"}, "did you mean 'pad'"),
        ({"channels": -1}, "--channels must not be negative"),
        ({"background": (0, 0)}, "--background must be white, black, or R,G,B of 0 to 255 each, not 0,0"),
        ({"background": (0, 0, 256)}, "--background"),
        ({"small": 16}, "--small and --small-epochs must be given together"),
        ({"small_epochs": 2}, "--small and --small-epochs must be given together"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(change: dict, said: str) -> None:
    with pytest.raises(SkipwayError, match=said):
        validate_recipe(replace(QUICK, **change))


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(SkipwayError, match="did you mean 'finetune'"):
        find_recipe("fintune")


def test_every_field_but_the_name_has_a_meaning_to_print() -> None:
    assert set(MEANING) == set(FIELDS) - {"name"}
    assert all(MEANING[name] for name in MEANING if name != "optimiser")


def test_decay_spares_vectors_where_the_recipe_says_so() -> None:
    net = models.build("resnet20")
    found = groups(net, replace(MODERN, rate_decay=1.0))
    decayed = {id(p) for g in found if g["weight_decay"] for p in g["params"]}
    assert decayed == {id(p) for p in net.parameters() if p.ndim > 1}
    assert sum(len(g["params"]) for g in found) == len(list(net.parameters()))
    assert len(groups(net, QUICK)) == 1


def test_lower_stages_learn_slower_by_the_recipes_factor() -> None:
    net = models.build("resnet20")
    (opt,) = optimisers(net, FINETUNE)
    set_rate([opt], 1.0)
    rate = {id(p): g["lr"] for g in opt.param_groups for p in g["params"]}
    assert rate[id(net.fc.weight)] == 1.0
    assert rate[id(net.layer3[0].conv1.weight)] == pytest.approx(0.7)
    assert rate[id(net.layer1[0].conv1.weight)] == pytest.approx(0.7**3)
    assert rate[id(net.conv1.weight)] == pytest.approx(0.7**5)


def test_frozen_layers_keep_weights_and_statistics() -> None:
    torch.manual_seed(0)
    net = models.build("resnet20")
    before = {k: v.clone() for k, v in net.state_dict().items()}
    recipe = replace(FINETUNE, pretrained="x", weight_decay=0.1)
    (opt,) = optimisers(net, recipe)
    set_training_mode(net, recipe, only_classifier=True)
    net(torch.randn(8, 3, 32, 32)).square().sum().backward()
    opt.step()
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {"fc.weight", "fc.bias"}


def test_frozen_norms_stand_still_while_convolutions_learn() -> None:
    net = models.build("resnet20")
    before = {k: v.clone() for k, v in net.state_dict().items()}
    recipe = replace(FINETUNE, pretrained="x")
    (opt,) = optimisers(net, recipe)
    set_training_mode(net, recipe, only_classifier=False)
    net(torch.randn(8, 3, 32, 32)).square().sum().backward()
    opt.step()
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    norm_names = {f"{n}.{p}" for n, m in net.named_modules() if m in set(norms(net)) for p in m.state_dict()}
    assert not changed & norm_names
    assert "conv1.weight" in changed


def test_warm_up_stable_decay_is_level_between_its_rise_and_the_last_third() -> None:
    recipe = replace(QUICK, schedule="wsd", warmup=0.1)
    found = [lr_multiplier(recipe, done) for done in (0.05, 0.1, 0.4, 2 / 3, 5 / 6, 1.0)]
    assert found == pytest.approx([0.5, 1.0, 1.0, 1.0, 0.5, 0.0])


def test_a_step_is_no_longer_than_the_rate_times_the_clipped_gradient(tmp_path: Path) -> None:
    """Plain SGD moves all weights together by the rate times the gradient, whose norm is clipped."""
    plain = replace(QUICK, model="resnet20", batch=20, iterations=1, lr=1.0, lr_batch=20, schedule="step")
    plain = replace(plain, momentum=0.0, nesterov=False, weight_decay=0.0, average=0.0)
    moved = {}
    for clip in (0.0, 0.01):
        run = loop.train(few_digits(), replace(plain, clip=clip), tmp_path / str(clip), CPU, QUIET)
        card = bundle.read_card(run)
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(0))
            before = dict(models.build(**card.network).named_parameters())
        after = weights(run)
        moved[clip] = float(
            torch.stack([(after[k] - w.detach()).square().sum() for k, w in before.items()]).sum().sqrt()
        )
    assert moved[0.01] == pytest.approx(0.01, rel=1e-3)
    assert moved[0.0] > 0.1


def test_the_settings_that_a_source_names_are_those_of_the_recipe() -> None:
    """torchvision's second weights (references/classification), and He, Girshick, Dollar 2019 for boxes."""
    modern = find_recipe("modern")
    assert (modern.label_smoothing, modern.mixup, modern.cutmix, modern.weight_decay) == (0.1, 0.2, 1.0, 2e-5)
    assert (modern.lr, modern.lr_batch, modern.schedule) == (0.5, 1024, "cosine")
    scratch = find_recipe("detect-scratch")
    assert (scratch.pretrained, scratch.freeze_norm) == ("", False)
