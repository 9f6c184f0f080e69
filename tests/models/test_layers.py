"""The table of layers against the papers' multiply-adds and hand computations."""

import pytest
import torch

from skipway.models import NETWORKS, build
from skipway.models.layers import layer_table


@pytest.mark.parametrize(
    ("name", "billions"),
    [("resnet18", 1.8), ("resnet34", 3.6), ("resnet50_v1", 3.8), ("resnet101_v1", 7.6), ("resnet152_v1", 11.3)],
)
def test_multiply_adds_are_table_1s(name: str, billions: float) -> None:
    with torch.device("meta"):
        net = build(name)
    total = sum(layer.multiply_adds for layer in layer_table(net, 3, 224))
    assert total / 1e9 == pytest.approx(billions, abs=0.08)  # the table rounds, or cuts, to one decimal


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20", "plain20", "resnet1202"])
def test_the_layers_parameters_add_up_to_the_networks(name: str) -> None:
    with torch.device("meta"):
        net = build(name)
    rows = layer_table(net, 3, 64)
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in net.parameters())


def test_the_first_and_last_rows_are_those_of_the_paper() -> None:
    rows = layer_table(build("resnet18"), 3, 224)
    assert rows[0].name == "conv1"
    assert rows[0].output == (64, 112, 112)
    assert rows[0].multiply_adds == 3 * 64 * 7 * 7 * 112 * 112
    assert next(row for row in rows if row.kind == "pool").output == (64, 56, 56)
    assert rows[-1].output == (1000,)
    assert rows[-1].multiply_adds == 512_000


def test_looking_at_a_network_leaves_it_as_it_was() -> None:
    net = build("resnet20")
    before = {key: value.clone() for key, value in net.state_dict().items()}
    layer_table(net, 3, 32)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not any(module._forward_hooks for module in net.modules())


def test_every_convolution_and_linear_layer_has_a_row() -> None:
    for name in NETWORKS:
        with torch.device("meta"):
            net = build(name)
        wanted = {n for n, m in net.named_modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)}
        rows = [row.name for row in layer_table(net, 3, 64)]
        assert wanted <= set(rows)
        assert len(rows) == len(set(rows))
