"""Study of removed and swapped units, and of paths."""

import itertools
from typing import Any

import pytest
import torch
from studied import Tiny
from torch import nn
from twins import shaken

from skipway import models
from skipway.study.engine.scale import SCALES
from skipway.study.experiments.unit_ablation import STUDY, error, smooth
from skipway.study.networks.cifar_vgg import vgg14
from skipway.study.probes.ablation import (
    UnitActivations,
    gradient_shares,
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


def row(model: str, seed: int, whole: float, one: float, many: list[float]) -> dict[str, Any]:
    found = {"model": model, "seed": seed, "others": "", "units": 27, "whole": whole, "one": [[0, one], [1, one]]}
    found |= {kind: [[n, value] for n, value in enumerate(many, 1)] for kind in ("cut", "swap")}
    return found | {"paths": [10.0**-k for k in range(28)]}


def states(*rows: dict[str, Any]) -> list[str]:
    return [verdict.state for verdict in STUDY.decide_claims(STUDY.claims_by_name(), SCALES["small"], {"rows": rows})]


def test_verdicts_follow_the_measurements() -> None:
    both = (0, 1)
    plain = [row(model, seed, 10.0, 85.0, [90.0]) for seed in both for model in ("plain56", "vgg14")]
    mild = [row("resnet56", seed, 8.0, 9.0, [10.0, 20.0, 40.0]) for seed in both]
    assert states(*plain, *mild) == ["holds"] * 4
    harsh = [row("resnet56", seed, 8.0, 60.0, [60.0, 80.0]) for seed in both]
    assert states(*plain, *harsh)[:3] == ["not decided"] * 3
    untrained = [row("resnet56", seed, 90.0, 90.0, [90.0, 91.0]) for seed in both]
    assert states(*plain, *untrained) == ["not decided"] * 4


def test_a_jump_is_not_smooth() -> None:
    assert smooth(row("resnet56", 0, 8.0, 9.0, [20.0, 45.0]), "cut")
    assert not smooth(row("resnet56", 0, 8.0, 9.0, [20.0, 80.0]), "cut")
    assert not smooth(row("resnet56", 0, 8.0, 9.0, [8.0, 7.0]), "swap")


def test_the_study_runs(tiny: Tiny) -> None:
    result = tiny("lesion")
    assert {verdict.state for verdict in result.verdicts} == {"not decided"}
    found = {row["model"]: row for row in result.findings["rows"]}
    assert len(found["resnet56"]["one"]) == 27
    assert len(found["resnet56"]["paths"]) == 28
    assert "paths" not in found["vgg14"]
