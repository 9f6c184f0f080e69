"""The table of layers against the papers' multiply-adds, what pixels really reach, and what autograd really keeps."""

import pytest
import torch
from torch import nn

from skipway.hardware import ShapesOnly
from skipway.models import NETWORKS, build
from skipway.models.analysis.flops import COUNTED
from skipway.models.analysis.paper_results import PUBLISHED
from skipway.models.analysis.trace import Layer, activation_bytes, depth, layer_table, layers
from skipway.models.base import Network

SHALLOW = [name for name in NETWORKS if PUBLISHED[name].depth <= 60]  # the deep ones are their kin, with more units
PLACES: dict[str, list[Layer]] = {}


def outline(name: str) -> Network:
    with ShapesOnly():
        return build(name)


def steps(name: str) -> list[Layer]:
    """Of the network with the papers' image; walked once for all tests."""
    if name not in PLACES:
        PLACES[name] = layers(outline(name), (3, PUBLISHED[name].size, PUBLISHED[name].size))
    return PLACES[name]


@pytest.mark.parametrize(
    ("name", "billions"),
    [("resnet18", 1.8), ("resnet34", 3.6), ("resnet50_v1", 3.8), ("resnet101_v1", 7.6), ("resnet152_v1", 11.3)],
)
def test_multiply_adds_are_table_1s(name: str, billions: float) -> None:
    total = sum(step.multiply_adds for step in steps(name))
    assert total / 1e9 == pytest.approx(billions, abs=0.08)  # the table rounds, or cuts, to one decimal


def test_the_steps_have_every_parameter_that_an_image_meets_in_evaluation() -> None:
    for name in SHALLOW:
        net = outline(name)
        unused = sum(p.numel() for head in net.heads[1:] for p in net.get_submodule(head.split(".")[0]).parameters())
        total = sum(p.numel() for p in net.parameters())
        assert sum(step.parameters for step in steps(name)) == total - unused, name


def test_what_list_prints_is_what_the_networks_have() -> None:
    for name in SHALLOW:
        found = sum(step.parameters for step in steps(name)), sum(step.multiply_adds for step in steps(name))
        line = f'"{name}": ({found[0]:_}, {found[1]:_}),'
        assert COUNTED.get(name) == found, f"models/analysis/flops.py should have {line}"
    assert set(COUNTED) == set(NETWORKS), "models/analysis/flops.py lacks or exceeds the networks"


@pytest.mark.parametrize("name", ["resnet110", "resnet152", "densenet201", "preresnet164", "resnet110_exclusive_gate"])
def test_what_list_prints_of_deep_networks_is_what_they_have(name: str) -> None:
    assert COUNTED[name] == (
        sum(step.parameters for step in steps(name)),
        sum(step.multiply_adds for step in steps(name)),
    )


def test_the_first_and_last_rows_are_those_of_the_paper() -> None:
    rows = layer_table(build("resnet18"), (3, 224, 224))
    assert rows[0].name == "conv1"
    assert rows[0].output == (64, 112, 112)
    assert rows[0].multiply_adds == 3 * 64 * 7 * 7 * 112 * 112
    assert next(row for row in rows if row.kind == "pool").output == (64, 56, 56)
    assert rows[-1].output == (1000,)
    assert rows[-1].multiply_adds == 512_000


def test_looking_at_a_network_leaves_it_as_it_was() -> None:
    net = build("resnet20")
    net.bn1.eval()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    layer_table(net, (3, 32, 32))
    activation_bytes(net, (3, 32, 32))
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert modes == [module.training for module in net.modules()]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_every_convolution_and_linear_layer_of_evaluation_has_one_row() -> None:
    for name in SHALLOW:
        net = outline(name)
        idle = tuple(head.split(".")[0] for head in net.heads[1:])
        kinds = nn.Conv2d | nn.Linear
        wanted = {n for n, m in net.named_modules() if isinstance(m, kinds) and not n.startswith(idle or "-")}
        rows = [step.name for step in steps(name) if step.name]
        assert wanted <= set(rows), name
        assert len(rows) == len(set(rows)), name


def test_an_oblong_image_and_other_channels_are_taken_as_they_are() -> None:
    with ShapesOnly():
        net = build("resnet18", channels=1)
    rows = layer_table(net, (1, 64, 128))
    assert rows[0].output == (64, 32, 64)
    assert next(row for row in rows if row.name == "layer4.1.bn2").output == (512, 2, 4)


# ---------------------------------------------------------------------------------------------------------------------
# Receptive fields


class StopError(Exception):
    """Carries a layer's output out of a network that need not go on."""


def columns_that_reach(net: Network, layer: str, columns: int) -> int:
    """How many columns of an image change the middle column of a layer's output, found by spoiling each in turn.

    A NaN goes wherever a number would: through sums, products, rectifiers and maxima. In float64, since the fast
    convolutions of float32 mix neighbours that they do not need.
    """

    def stop(_module: nn.Module, _inputs: tuple, output: torch.Tensor) -> None:
        raise StopError(output)

    net.get_submodule(layer).register_forward_hook(stop)
    images = torch.ones(columns, 3, net.smallest, columns, dtype=torch.float64)
    images[torch.arange(columns), :, :, torch.arange(columns)] = torch.nan
    with torch.no_grad(), pytest.raises(StopError) as reached:
        net(images)
    output = reached.value.args[0]
    middle = output[..., output.shape[-1] // 2]
    return int(middle.isnan().flatten(1).any(1).sum())


@pytest.mark.parametrize(
    ("name", "layer", "columns"),
    [
        ("resnet18", "layer2.0.bn2", 96),  # a 7x7, pooling, strides, and the longer of two ways
        ("resnet50_v1", "layer2.0.downsample.1", 64),
        ("resnet18_blur", "layer1.0.bn1", 48),  # padding of one side more than the other
        ("resnet18d", "layer2.0.downsample.2", 64),  # a mean before the projection
        ("resnet20", "layer2.1.bn2", 64),  # every second pixel of option A
        ("densenet40_12", "features.denseblock1.denselayer5.conv1", 16),
        ("googlenet", "inception3a.branch3", 64),
    ],
)
def test_a_position_sees_as_many_pixels_as_can_change_it(name: str, layer: str, columns: int) -> None:
    net = build(name).double().eval()
    inner = [
        step
        for step in layers(net, (3, net.smallest, columns))
        if step.name == layer or step.name.startswith(f"{layer}.")
    ]
    assert inner[-1].receptive is not None
    assert inner[-1].receptive < columns  # so that the image's edge cuts nothing off
    assert columns_that_reach(net, layer, columns) == inner[-1].receptive


def test_fields_follow_the_recurrence_by_hand() -> None:
    rows = {row.name: row.receptive for row in steps("resnet18")}
    assert rows["conv1"] == 7
    assert rows["maxpool"] == 7 + 2 * 2
    assert rows["layer1.1.conv2"] == 11 + 4 * (2 * 4)
    assert rows["layer2.0.conv1"] == 43 + 2 * 4
    assert rows["layer2.0.downsample.0"] == 43
    assert rows["layer2.0.conv2"] == 51 + 2 * 8
    assert rows["fc"] is None


def test_after_a_squeeze_a_position_sees_the_whole_image() -> None:
    rows = {row.name: row.receptive for row in steps("seresnet18")}
    assert rows["layer1.0.bn2"] is not None
    assert rows["layer1.0.se.fc1"] is None
    assert rows["layer1.1.conv1"] is None


# ---------------------------------------------------------------------------------------------------------------------
# Ways, units and memory


def test_joins_are_seen_where_units_have_them() -> None:
    assert [step.kind for step in steps("resnet20") if step.join] == ["add"] * 9
    assert [step.kind for step in steps("plain20") if step.join] == []
    assert {step.kind for step in steps("seresnet18") if step.join} == {"multiply", "add"}
    assert {step.kind for step in steps("googlenet") if step.join} == {"concat"}
    join = next(step for step in steps("resnet18") if step.join)
    names = [steps("resnet18")[source].name for source in join.sources]
    assert names == ["maxpool", "layer1.0.bn2"]


def test_units_are_children_of_stages_or_whole_parts() -> None:
    units = {step.name: step.unit for name in ("resnet18", "densenet121", "googlenet") for step in steps(name)}
    assert units["layer3.1.conv2"] == "layer3.1"
    assert units["features.denseblock2.denselayer3.conv1"] == "features.denseblock2.denselayer3"
    assert units["inception4a.branch2.0.conv"] == "inception4a"


def test_depth_counts_weighted_layers_of_the_longest_way() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(4 * 36, 2))
    assert depth(layers(net, (3, 8, 8))) == 3
    assert depth(steps("resnet50")) == 50


@pytest.mark.parametrize("name", ["resnet20", "densenet40_12", "vgg11"])
def test_what_is_kept_is_what_autograd_stores_in_a_real_pass(name: str) -> None:
    net, side = build(name).eval(), 32
    weights = {tensor.untyped_storage().data_ptr() for tensor in (*net.parameters(), *net.buffers())}
    images, found = torch.randn(1, 3, side, side), {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        scores = net(images)
    assert scores.requires_grad
    stored = sum(size for at, size in found.items() if at not in {*weights, images.untyped_storage().data_ptr()})
    assert activation_bytes(net, (3, side, side)) == pytest.approx(stored, rel=0.01)


def test_the_memory_of_a_layer_is_its_outputs_bytes() -> None:
    assert steps("resnet18")[0].memory == 64 * 112 * 112 * 4
