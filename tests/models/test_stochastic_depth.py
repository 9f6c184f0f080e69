"""Stochastic depth: chances by equation 4, equal means, and nothing in use."""

import pytest
import torch

from skipway.models import build
from skipway.models.stochastic_depth import add_stochastic_depth, survival


def test_chances_fall_in_a_straight_line_to_the_last() -> None:
    chances = [survival(unit, 54, 0.5) for unit in range(1, 55)]
    assert chances[-1] == 0.5
    assert sum(chances) == pytest.approx(54 - 0.5 * 55 / 2)  # the paper: about 40 of ResNet-110's 54 units on average


def test_every_unit_gets_its_chance_in_order() -> None:
    net = build("resnet20")
    add_stochastic_depth(net, 0.1)
    drops = [unit.drop.p for stage in net.stages for unit in net.get_submodule(stage)]
    assert drops == pytest.approx([0.1 * n for n in range(1, 10)])


def test_a_trained_network_needs_no_rule_for_use() -> None:
    net = build("resnet20").eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = net(x)
        add_stochastic_depth(net, 0.2)
        assert torch.equal(net.eval()(x), before)


def test_a_dropped_unit_is_its_shortcut_and_the_mean_is_kept() -> None:
    torch.manual_seed(0)
    net = build("resnet20")
    add_stochastic_depth(net, 0.5)
    unit = net.get_submodule("layer3")[2].eval()  # the last: half of all images skip its branch
    x = torch.randn(1, 64, 4, 4)
    with torch.no_grad():
        branch = unit.branch(x)
        unit.drop.train()
        many = unit.branch(x.expand(4000, -1, -1, -1))
    gone = (many == 0).flatten(1).all(1)
    assert 0.45 < gone.float().mean() < 0.55
    torch.testing.assert_close(many[~gone][0], branch[0] / 0.5)


def test_plain_nets_have_nothing_to_drop() -> None:
    net = build("plain20")
    add_stochastic_depth(net, 0.5)
    assert not any("StochasticDepth" in type(m).__name__ for m in net.modules())
