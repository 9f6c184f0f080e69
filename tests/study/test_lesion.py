"""Study of removed and swapped units, and of paths."""

import itertools
from typing import Any

import pytest
import torch
from studied import Tiny
from torch import nn
from twins import shaken

from skipway import models
from skipway.study.engine.report import png
from skipway.study.engine.scale import SCALES
from skipway.study.experiments import degradation
from skipway.study.experiments.unit_ablation import STUDY, largest_step, rank_correlation
from skipway.study.networks.cifar_vgg import vgg14
from skipway.study.probes.ablation import (
    UnitActivations,
    error,
    gradient_shares,
    kendall_tau,
    removable_units,
    removed,
    swappable_groups,
    swapped,
    unit_activations,
)
from skipway.study.probes.activations import cross_entropy, units_of


def test_a_removed_unit_leaves_the_shortcut_and_is_restored() -> None:
    net, x = shaken(models.build("resnet20")).eval(), torch.randn(2, 3, 16, 16)
    whole, units = net(x), units_of(net)
    with torch.no_grad(), removed(net, [1, 5]):
        got = net(x)
        assert units_of(net)[1] is not units[1]
    with torch.no_grad():
        for number in (1, 5):
            units[number].bn2.weight.zero_()
            units[number].bn2.bias.zero_()
        without = net(x)
    assert units_of(net) == units
    assert torch.allclose(got, without, atol=1e-5)
    assert not torch.allclose(got, whole, atol=1e-3)


def test_swapping_back_gives_the_same_network() -> None:
    net = models.build("resnet20")
    units = units_of(net)
    with swapped(net, [(1, 2), (2, 1), (7, 8)]):
        assert units_of(net)[7:] == [units[8], units[7]]
        assert units_of(net)[:3] == units[:3]
    assert units_of(net) == units


def test_units_that_can_be_removed_or_swapped() -> None:
    x = torch.randn(1, 3, 16, 16)
    assert removable_units(models.build("resnet20").eval(), x) == list(range(9))
    assert removable_units(models.build("plain20").eval(), x) == [0, 1, 2, 4, 5, 7, 8]  # 3 and 6 halve the map
    assert swappable_groups(models.build("resnet20")) == [[1, 2], [4, 5], [7, 8]]
    assert removable_units(vgg14().eval(), x) == [1, 3, 5, 6, 8, 9, 10, 11, 12]


def test_the_small_vgg_follows_the_contract() -> None:
    net, x = vgg14(classes=4, channels=1).eval(), torch.randn(2, 1, 32, 32)
    maps = net.features(x)
    assert [tuple(m.shape) for m in maps] == [
        (2, c, 32 // s, 32 // s) for c, s in zip(net.channels, net.strides, strict=True)
    ]
    assert torch.equal(net.classify(maps[-1]), net(x))
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 14
    assert net.get_submodule(net.first) is layers[0]


def test_the_gradients_of_all_paths_add_up_to_the_total() -> None:
    net = shaken(models.build("resnet20")).double().eval()
    images, labels = torch.randn(2, 3, 8, 8, dtype=torch.float64), torch.arange(2)
    found = unit_activations(net, images, labels)
    three = UnitActivations(found.units[6:], found.inputs[6:], found.outputs[6:], found.gradient)
    paths = [three.path_gradient(taken) for n in range(4) for taken in itertools.combinations(range(3), n)]
    leaf = found.inputs[6].clone().requires_grad_()
    x = leaf * 1.0
    for unit in three.units:
        x = unit(x)
    whole = torch.autograd.grad(cross_entropy(labels)(net.classify(x)), leaf)[0]
    assert torch.allclose(sum(paths), whole, rtol=1e-9)


def test_shares_count_the_paths_of_each_length() -> None:
    assert gradient_shares([1.0, 1.0, 1.0, 1.0]) == pytest.approx([1 / 8, 3 / 8, 3 / 8, 1 / 8])
    assert gradient_shares([0.0, 0.0]) == [0.0, 0.0]


def test_error_is_the_share_of_wrong_predictions() -> None:
    net = models.build("resnet20").eval()
    images = torch.randn(6, 3, 16, 16)
    with torch.no_grad():
        predicted = net(images).argmax(1)
    assert error(net, images, predicted) == 0
    assert error(net, images, (predicted + torch.tensor([1, 0, 0, 1, 0, 1])) % 10) == 50


def row(model: str, seed: int, whole: float, one: float, many: list[float], **rest: Any) -> dict[str, Any]:
    """A network with the error `one` without any one of its units, and `many` with 1, 2, ... removed or swapped."""
    found = {"model": model, "seed": seed, "others": "", "steps": 16_000, "units": 27, "whole": whole}
    found |= {"one": [[0, one], [1, one]], "cut": [[n, value] for n, value in enumerate(many, 1)]}
    found |= {"swap": [[n, value, 1 - n / 100] for n, value in enumerate(many, 1)]}
    return found | {"paths": [10.0**-k for k in range(28)]} | rest


GRADUAL, AT_ONCE = [12.0, 20.0, 30.0, 45.0, 60.0], [89.0, 90.0, 89.0, 90.0, 89.0]


def networks(seeds: int = 3, **changes: Any) -> list[dict[str, Any]]:
    """Networks as in the paper, with `changes` of the residual ones."""
    residual = {"whole": 8.0, "one": 9.0, "many": GRADUAL, **changes}
    found = []
    for i in range(seeds):
        found += [row(model, i, 10.0, 85.0 + i, [90.0]) for model in ("plain56", "vgg14")]
        found.append(row("resnet56", i, **residual))
    return found


def states(rows: list[dict[str, Any]], steps: int = 16_000) -> list[str]:
    return [verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), steps, {"rows": rows})]


UNDECIDED = ["not trained enough to tell"] * 5


def test_the_papers_behaviour_supports_every_claim() -> None:
    assert states(networks()) == ["supports"] * 5


def test_the_reverse_speaks_against_every_claim() -> None:
    long = [4.0**k for k in range(28)]  # long paths carry the gradient
    rows = networks(one=60.0, many=AT_ONCE, paths=long)
    for found in rows:
        if found["model"] != "resnet56":
            found["one"] = [[0, 12.0], [1, 13.0]]
    assert states(rows) == ["speaks against"] * 5


def test_a_plain_network_in_the_place_of_the_residual_one_fails() -> None:
    assert states(networks(whole=10.0, one=88.0, many=AT_ONCE))[2:4] == ["speaks against"] * 2


def test_an_error_that_falls_does_not_rise_smoothly() -> None:
    assert states(networks(many=[40.0, 30.0, 20.0, 12.0, 9.0]))[2:4] == ["speaks against"] * 2


def test_seeds_that_disagree_show_no_difference() -> None:
    short, long = [10.0**-k for k in range(28)], [4.0**k for k in range(28)]
    rows = [
        row("resnet56", 0, 8.0, 9.0, GRADUAL, paths=short),
        row("resnet56", 1, 8.0, 60.0, AT_ONCE, paths=long),
        row("resnet56", 2, 8.0, 13.0, GRADUAL, paths=short),
        *(row(model, i, 10.0, error, [90.0]) for model in ("plain56", "vgg14") for i, error in enumerate((60, 75, 90))),
    ]
    assert states(rows) == ["no difference seen"] * 5


def test_two_seeds_few_steps_and_networks_that_learnt_nothing_decide_nothing() -> None:
    assert states(networks(seeds=2)) == UNDECIDED
    assert states(networks(steps=999))[2:] == UNDECIDED[2:]
    chance = {"whole": 90.0, "one": 90.0, "many": [90.0, 91.0, 90.5]}
    assert [state for i, state in enumerate(states(networks(**chance))) if i != 1] == UNDECIDED[1:]
    assert states([found for found in networks() if found["model"] != "vgg14"]) == UNDECIDED


def test_a_shorter_training_of_vgg_counts_for_the_claim_on_plain_networks() -> None:
    rows = networks()
    for found in rows:
        if found["model"] == "vgg14":
            found["steps"] = 500
    assert states(rows)[:2] == ["supports", "not trained enough to tell"]


def test_results_without_steps_and_without_kendalls_tau_are_read() -> None:
    rows = networks()
    for found in rows:
        del found["steps"]
        found["swap"] = [entry[:2] for entry in found["swap"]]
    assert states(rows) == ["supports"] * 5
    assert states(rows, steps=999) == UNDECIDED


def test_the_largest_step_is_a_share_of_the_whole_rise() -> None:
    assert largest_step(row("resnet56", 0, 10.0, 0, [20.0, 50.0]), "cut") == pytest.approx(75)
    assert largest_step(row("plain56", 0, 10.0, 0, [90.0, 90.0]), "cut") == 100
    assert largest_step(row("resnet56", 0, 10.0, 0, [9.0, 8.0]), "cut") == 100
    wide = row("resnet56", 0, 10.0, 0, []) | {"cut": [[1, 20.0], [5, 60.0]]}
    assert largest_step(wide, "cut") == pytest.approx(20)  # 40 points over 4 units


def test_the_rank_correlation_is_spearmans_and_counts_falls() -> None:
    assert rank_correlation(row("resnet56", 0, 8.0, 0, GRADUAL), "cut") == pytest.approx(1)
    assert rank_correlation(row("resnet56", 0, 8.0, 0, GRADUAL[::-1]), "swap") == pytest.approx(-1)
    assert rank_correlation(row("resnet56", 0, 8.0, 0, [9.0, 9.0]), "cut") == 0
    assert rank_correlation(row("resnet56", 0, 8.0, 0, [1.0, 3.0, 2.0, 4.0]), "cut") == pytest.approx(0.8)


def test_kendalls_tau_counts_the_pairs_out_of_order() -> None:
    assert kendall_tau(4, []) == 1
    assert kendall_tau(4, [(0, 3), (1, 2)]) == -1
    assert kendall_tau(4, [(0, 1)]) == pytest.approx(4 / 6, abs=1e-4)  # one of six pairs
    assert kendall_tau(4, [(0, 1), (1, 0)]) == 1


def test_the_deep_networks_are_those_of_degradation() -> None:
    known = degradation.STUDY.plan(SCALES["small"])
    recipes = [recipe for recipe in STUDY.plan(SCALES["small"]) if recipe.model != "vgg14"]
    assert len(recipes) == 2
    assert all(recipe in known for recipe in recipes)


def test_the_study_runs(tiny: Tiny) -> None:
    result = tiny("lesion")
    assert {verdict.state for verdict in result.verdicts} == {"not trained enough to tell"}
    found = {row["model"]: row for row in result.findings["rows"]}
    assert len(found["resnet56"]["one"]) == 27
    assert len(found["resnet56"]["paths"]) == 28
    assert "paths" not in found["vgg14"]
    assert [len(draw) for draw in found["resnet56"]["swap"]] == [3, 3]
    assert png(result).startswith(b"\x89PNG")
