"""Pre-activation nets and their rivals against hand formulas, plain functions of tensors, NumPy and timm."""

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from twins import on_meta, parameters

from skipway.errors import SkipwayError
from skipway.models import build
from skipway.models.preresnet import (
    FULL_A,
    FULL_BASIC,
    FULL_BOTTLENECK,
    FULL_BOTTLENECK_V1,
    NETWORKS,
    RELU_ONLY_A,
    RELU_ONLY_BOTTLENECK,
    Design,
    Exclusive,
    GatedShortcut,
    PreResNet,
    bare_projection,
    basic,
    bn_after,
    bottleneck_v1,
    dropped,
    from_timm,
    full,
    private,
    relu_before,
    relu_only,
    scaled,
    shared,
    shared_where_it_changes,
)
from skipway.models.resnet import Basic, ResNet, imagenet_stem, shortcut_a, shortcut_b, shortcut_c, small_stem
from skipway.models.stochastic_depth import add_stochastic_depth

MAKERS = {
    "bn_after": (private(basic, bn_after), shortcut_a),
    "relu_before": (private(basic, relu_before), shortcut_a),
    "relu_only": (private(basic, relu_only), shortcut_a),
    "full": (private(basic, full), shortcut_a),
    "full, shared": (shared(basic, full), shortcut_a),
    "full bottleneck": (shared_where_it_changes(bottleneck_v1, full), bare_projection),
    "relu_only bottleneck": (shared_where_it_changes(bottleneck_v1, relu_only), shortcut_b),
    "exclusive gate": (lambda *a: Exclusive(*a, bias=-1), shortcut_a),
    "shortcut gate": (Basic, lambda *a: GatedShortcut(*a, bias=-1)),
    "half": (Basic, scaled(0.5)),
}
AFTER = {"bn_after", "exclusive gate", "shortcut gate", "half"}  # a rectifier follows the sum


@cache
def known(name: str) -> nn.Module:
    """`on_meta` once for all the tests that only look."""
    return on_meta(name)


def shaken(net: nn.Module) -> nn.Module:
    """`net` with every normalisation's numbers off their defaults, so that none can be left out unnoticed."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.2, 0.6)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return net


def norm(y: Tensor, m: nn.BatchNorm2d) -> Tensor:
    shape = (1, -1, 1, 1)
    centred = (y - m.running_mean.view(shape)) / (m.running_var.view(shape) + 1e-5).sqrt()
    return centred * m.weight.view(shape) + m.bias.view(shape)


def rectified(y: Tensor) -> Tensor:
    return y.clamp(min=0)


# ---------------------------------------------------------------------------------------------------------------------
# Counts


@pytest.mark.parametrize("n", [3, 5, 7, 9, 18, 333])
def test_basic_units_count_what_those_of_2015_do(n: int) -> None:
    # The same components in another order: the stem's normalisation moves to the end, where there are 64 channels, and
    # two units' first normalisations see 16 and 32 channels where they saw 32 and 64.
    def stage(c_in: int, c_out: int) -> int:
        return c_in * c_out * 9 + (2 * n - 1) * c_out * c_out * 9 + 2 * c_in + (2 * n - 1) * 2 * c_out

    expected = 3 * 16 * 9 + stage(16, 16) + stage(16, 32) + stage(32, 64) + 2 * 64 + 64 * 10 + 10
    net = known(f"preresnet{6 * n + 2}")
    assert parameters(net) == expected
    assert sum(1 for m in net.modules() if isinstance(m, nn.Conv2d)) == 6 * n + 1


@pytest.mark.parametrize(("n", "millions"), [(18, 1.7), (111, 10.2)])
def test_bottlenecks_count_what_the_appendix_says(n: int, millions: float) -> None:
    def convolutions(c_in: int, width: int) -> int:
        return c_in * width + 9 * width**2 + 4 * width**2

    def stage(c_in: int, width: int) -> tuple[int, int]:
        weights = convolutions(c_in, width) + c_in * 4 * width + (n - 1) * convolutions(4 * width, width)
        norms = 2 * c_in + (n - 1) * 2 * 4 * width + n * 4 * width
        return weights, norms

    stages = [stage(16, 16), stage(64, 32), stage(128, 64)]
    weights = 3 * 16 * 9 + sum(w for w, _ in stages) + 256 * 10 + 10
    net = known(f"preresnet{9 * n + 2}")
    assert parameters(net) == weights + sum(norms for _, norms in stages) + 2 * 256
    # Table 4's millions are those of the weights: ten thousandths of scales and shifts go uncounted there.
    assert round(weights / 1e6, 1) == millions
    projections = 3
    assert sum(1 for m in net.modules() if isinstance(m, nn.Conv2d)) == 9 * n + 1 + projections


@pytest.mark.parametrize("layers", [110, 164])
def test_all_orders_are_made_of_the_same_parts(layers: int) -> None:
    # Figure 4's caption, to the unit.
    counts = {name: parameters(known(name)) for name in NETWORKS if name.startswith(f"resnet{layers}_")}
    orders = {
        name: c for name, c in counts.items() if name.split("_", 1)[1] in ("bn_after", "relu_before", "relu_only")
    }
    assert len(orders) == 3
    assert set(orders.values()) == {parameters(known(f"resnet{layers}"))}


def test_what_a_shortcut_of_table_1_adds_is_a_1x1_convolution_a_unit() -> None:
    plain = parameters(known("resnet110"))
    shapes = [(16, 16)] * 18 + [(16, 32)] + [(32, 32)] * 17 + [(32, 64)] + [(64, 64)] * 17
    added = {name: parameters(known(name)) - plain for name in NETWORKS if name.startswith("resnet110_")}
    for name, extra in added.items():
        if "gate" in name:
            assert extra == sum(c_in * c_out + c_out for c_in, c_out in shapes), name
        elif name == "resnet110_conv_shortcut":
            assert extra == sum(c_in * c_out + 2 * c_out for c_in, c_out in shapes)
        else:
            assert extra == 0, name


@pytest.mark.parametrize(
    ("layers", "stages", "units"), [(164, 3, 54), (1001, 3, 333), (2000, 3, 999), (200, 4, 66), (152, 4, 50)]
)
def test_depth_is_what_the_name_says(layers: int, stages: int, units: int) -> None:
    net = known(f"preresnet{layers}")
    lengths = [len(net.get_submodule(stage)) for stage in net.stages]
    assert (len(lengths), sum(lengths)) == (stages, units)
    weights = 2 if layers == 2000 else 3
    assert sum(lengths) * weights + 2 == layers


# ---------------------------------------------------------------------------------------------------------------------
# Units


def by_hand(order: str, unit: nn.Module, x: Tensor) -> Tensor:
    """Figure 4, written out for two 3x3 convolutions and an identity shortcut."""
    layers = unit.layers

    def w1(y: Tensor) -> Tensor:
        return F.conv2d(y, layers.conv1.weight, padding=1)

    def w2(y: Tensor) -> Tensor:
        return F.conv2d(y, layers.conv2.weight, padding=1)

    if order == "bn_after":
        return rectified(norm(x + w2(rectified(norm(w1(x), layers.bn1))), unit.post.bn))
    if order == "relu_before":
        return x + rectified(norm(w2(rectified(norm(w1(x), layers.bn1))), layers.bn2))
    if order == "relu_only":
        return x + norm(w2(rectified(norm(w1(rectified(x)), layers.bn1))), layers.bn2)
    return x + w2(rectified(norm(w1(rectified(norm(x, unit.pre.bn))), layers.bn1)))


@pytest.mark.parametrize("order", ["bn_after", "relu_before", "relu_only", "full"])
def test_a_unit_computes_in_the_order_of_figure_4(order: str) -> None:
    make, shortcut = MAKERS[order]
    unit = shaken(make(6, 6, 1, shortcut)).eval()
    x = torch.randn(2, 6, 7, 7)
    with torch.no_grad():
        torch.testing.assert_close(unit(x), by_hand(order, unit, x), rtol=1e-5, atol=1e-5)


def test_orders_differ_in_what_they_can_add() -> None:
    x = torch.randn(4, 6, 7, 7)
    with torch.no_grad():
        added = {
            order: MAKERS[order][0](6, 6, 1, shortcut_a).train()(x) - x
            for order in ("relu_before", "relu_only", "full")
        }
    assert (added["relu_before"] >= -1e-6).all(), "rectified before the addition, the signal can only grow"
    assert (added["relu_only"] < -0.1).any()
    assert (added["full"] < -0.1).any()


def test_a_projection_sees_the_activated_signal() -> None:
    unit = shaken(shared_where_it_changes(bottleneck_v1, full)(8, 4, 2, bare_projection)).eval()
    x = torch.randn(2, 8, 6, 6)
    with torch.no_grad():
        a = rectified(norm(x, unit.pre.bn))
        y = F.conv2d(a, unit.layers.conv1.weight, stride=2)
        y = F.conv2d(rectified(norm(y, unit.layers.bn1)), unit.layers.conv2.weight, padding=1)
        y = F.conv2d(rectified(norm(y, unit.layers.bn2)), unit.layers.conv3.weight)
        torch.testing.assert_close(unit(x), y + F.conv2d(a, unit.downsample.weight, stride=2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize(("width", "stride"), [(8, 1), (12, 2)])
def test_a_unit_is_what_follows_the_sum_of_skip_and_branch(kind: str, width: int, stride: int) -> None:
    make, shortcut = MAKERS[kind]
    unit = shaken(make(8, width, stride, shortcut)).eval()
    x = torch.randn(2, 8, 6, 6)
    before = x.clone()
    with torch.no_grad():
        total = unit.skip(x).clone() + unit.branch(x).clone()
        if kind == "bn_after":
            total = norm(total, unit.post.bn)
        torch.testing.assert_close(unit(x), rectified(total) if kind in AFTER else total, rtol=1e-5, atol=1e-6)
    assert torch.equal(x, before), "a unit must not write into its input"


@pytest.mark.parametrize("kind", MAKERS)
def test_a_dropped_branch_leaves_the_shortcut_alone(kind: str) -> None:
    make, shortcut = MAKERS[kind]
    unit = make(8, 8, 1, shortcut).eval()
    unit.drop = nn.Threshold(float("inf"), 0.0)  # nothing comes through
    x = torch.randn(2, 8, 6, 6)
    with torch.no_grad():
        total = unit.skip(x).clone()
        if kind == "bn_after":
            total = norm(total, unit.post.bn)
        torch.testing.assert_close(unit(x), rectified(total) if kind in AFTER else total)


def test_a_dead_branch_makes_a_full_pre_activation_unit_the_identity() -> None:
    unit = MAKERS["full"][0](8, 8, 1, shortcut_a).train()
    nn.init.zeros_(unit.layers.conv2.weight)
    x = torch.randn(2, 8, 6, 6)
    assert torch.equal(unit(x), x)  # where it is negative too, as the unit of 2015 is not


def test_within_a_stage_the_signal_is_a_plain_sum() -> None:
    # Equation 4: x_L = x_l + the branches between; in 2015's units a rectifier stands in between.
    net = shaken(build("preresnet32")).eval()
    x = torch.randn(2, 64, 8, 8)
    units = list(net.layer3)[1:]
    with torch.no_grad():
        seen, branches = x, []
        for unit in units:
            branches.append(unit.branch(seen))
            seen = unit(seen)
        torch.testing.assert_close(seen, x + torch.stack(branches).sum(0), rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------------------------------------------------------------
# Shortcuts


@pytest.mark.parametrize(("c_out", "stride"), [(4, 1), (8, 2)])
@pytest.mark.parametrize("factor", [0, 0.5])
def test_a_scaled_shortcut_is_option_a_times_the_factor(factor: float, c_out: int, stride: int) -> None:
    x = torch.randn(2, 4, 6, 6)
    expected = np.zeros((2, c_out, 6 // stride, 6 // stride), np.float32)
    expected[:, :4] = factor * x.numpy()[:, :, ::stride, ::stride]
    np.testing.assert_array_equal(scaled(factor)(4, c_out, stride)(x).numpy(), expected)


@pytest.mark.parametrize(("name", "skip", "branch"), [("zero", 0, 1), ("half", 0.5, 1), ("both", 0.5, 0.5)])
def test_constant_scaling_is_that_of_table_1(name: str, skip: float, branch: float) -> None:
    unit = build(f"resnet110_scaled_{name}").layer1[0].eval()
    original = Basic(16, 16, 1, shortcut_a).eval()
    original.load_state_dict(unit.state_dict())
    x = torch.rand(2, 16, 5, 5)
    with torch.no_grad():
        torch.testing.assert_close(unit(x), rectified(skip * x + branch * original.branch(x)))


def gate_by_hand(x: Tensor, convolution: nn.Conv2d, stride: int) -> np.ndarray:
    weight, bias = convolution.weight.detach().numpy()[:, :, 0, 0], convolution.bias.detach().numpy()
    z = np.einsum("oc,nchw->nohw", weight, x.numpy()[:, :, ::stride, ::stride]) + bias[:, None, None]
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize(("c_out", "stride"), [(4, 1), (8, 2)])
def test_a_gated_shortcut_is_one_minus_the_gate_in_numpy(c_out: int, stride: int) -> None:
    shortcut = GatedShortcut(4, c_out, stride, bias=-1)
    x = torch.randn(2, 4, 6, 6)
    g = gate_by_hand(x, shortcut.gate[0], stride)
    expected = (1 - g) * shortcut_a(4, c_out, stride)(x).numpy()
    with torch.no_grad():
        np.testing.assert_allclose(shortcut(x).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_an_exclusive_gate_shares_out_shortcut_and_branch_in_numpy() -> None:
    unit = shaken(Exclusive(4, 8, 2, shortcut_a, bias=-1)).eval()
    original = Basic(4, 8, 2, shortcut_a).eval()
    original.load_state_dict({k.removeprefix("layers."): v for k, v in unit.state_dict().items() if "gate" not in k})
    x = torch.randn(2, 4, 6, 6)
    g = gate_by_hand(x, unit.gate[0], 2)
    with torch.no_grad():
        expected = (1 - g) * original.skip(x).numpy() + g * original.branch(x).numpy()
        np.testing.assert_allclose(unit(x).numpy(), np.maximum(expected, 0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "bias"),
    [
        ("exclusive_gate", -6),
        ("exclusive_gate0", 0),
        ("exclusive_gate5", -5),
        ("exclusive_gate7", -7),
        ("shortcut_gate", -6),
        ("shortcut_gate0", 0),
    ],
)
def test_all_gates_start_at_their_bias(name: str, bias: float) -> None:
    net = build(f"resnet110_{name}")
    gates = [m for n, m in net.named_modules() if n.endswith("gate")]
    assert len(gates) == 54
    for gate in gates:
        silence = torch.zeros(1, gate[0].in_channels, 2, 2)
        torch.testing.assert_close(gate(silence), torch.full_like(gate(silence), 1 / (1 + np.exp(-bias))))


def test_the_convolution_shortcut_is_on_every_unit() -> None:
    net = known("resnet110_conv_shortcut")
    units = [m for m in net.modules() if isinstance(m, Basic)]
    assert len(units) == 54
    for unit in units:
        convolution, _ = unit.downsample
        assert (convolution.kernel_size, convolution.stride) == ((1, 1), unit.conv1.stride)


def test_a_dropped_shortcut_loses_half_in_training_and_nothing_in_use() -> None:
    shortcut = dropped(4, 4, 1)
    x = torch.rand(8, 4, 16, 16) + 1
    assert torch.equal(shortcut.eval()(x), x)
    y = shortcut.train()(x)
    gone = (y == 0).float().mean().item()
    assert gone == pytest.approx(0.5, abs=5 * 0.5 / x.numel() ** 0.5)
    torch.testing.assert_close(y[y != 0], 2 * x[y != 0])  # so that the expectation is the signal
    assert sum(1 for m in known("resnet110_dropout_shortcut").modules() if isinstance(m, nn.Dropout)) == 54


# ---------------------------------------------------------------------------------------------------------------------
# Nets


def test_a_net_is_the_appendix_written_out() -> None:
    # The first activation right after conv1 and before both paths; one more after the last addition.
    net = shaken(build("preresnet20")).eval()
    x = torch.randn(2, 3, 16, 16)

    def branch(unit: nn.Module, a: Tensor, stride: int) -> Tensor:
        y = F.conv2d(a, unit.layers.conv1.weight, stride=stride, padding=1)
        return F.conv2d(rectified(norm(y, unit.layers.bn1)), unit.layers.conv2.weight, padding=1)

    with torch.no_grad():
        y = F.conv2d(x, net.conv1.weight, padding=1)
        for i, stage in enumerate((net.layer1, net.layer2, net.layer3)):
            for j, unit in enumerate(stage):
                a = rectified(norm(y, unit.pre.bn))
                if i == j == 0:
                    y = a + branch(unit, a, 1)
                elif j == 0:
                    y = F.pad(y[:, :, ::2, ::2], (0, 0, 0, 0, 0, y.shape[1])) + branch(unit, a, 2)
                else:
                    y = y + branch(unit, a, 1)
        last = rectified(norm(y, net.last.bn))
        torch.testing.assert_close(net.features(x)[-1], last, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(net(x), net.fc(last.mean((2, 3))), rtol=1e-4, atol=1e-6)


def test_relu_only_nets_normalise_after_conv1_and_rectify_once_more_at_the_end() -> None:
    net = shaken(PreResNet(RELU_ONLY_A, (2, 1), 8, small_stem, 5, 3)).eval()
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        y = rectified(norm(F.conv2d(x, net.conv1.weight, padding=1), net.norm))
        for unit in (*net.layer1, *net.layer2):
            y = unit.skip(y) + unit.branch(y)
        torch.testing.assert_close(net(x), net.fc(rectified(y).mean((2, 3))), rtol=1e-4, atol=1e-6)


def test_164_and_1001_layers_share_the_activation_where_they_project_and_only_there() -> None:
    for name in ("preresnet164", "resnet164_relu_only"):
        net = known(name)
        for stage in net.stages:
            kinds = [type(unit).__name__ for unit in net.get_submodule(stage)]
            assert kinds == ["Shared"] + ["Private"] * 17, name
            assert not isinstance(net.get_submodule(stage)[0].downsample, nn.Identity)


@pytest.mark.parametrize(
    "name",
    ["preresnet18", "preresnet50", "preresnet20", "preresnet164", "resnet164", "resnet164_relu_only"]
    + [name for name in NETWORKS if name.startswith("resnet110_") and not name[-1].isdigit()],
)
def test_channels_and_strides_describe_the_maps(name: str) -> None:
    net = known(name).eval()
    side = 2 * net.smallest
    maps = net.features(torch.empty(2, 3, side, side, device="meta"))
    expected = [(2, c, side // s, side // s) for c, s in zip(net.channels, net.strides, strict=True)]
    assert [tuple(m.shape) for m in maps] == expected
    assert net.strides == ([4, 8, 16, 32] if len(net.strides) == 4 else [1, 2, 4])
    assert (net.smallest, net.heads) == (net.strides[-1], ("fc",))
    assert [n for n, child in net.named_children() if any(True for _ in child.parameters())][-1] == "fc"


@pytest.mark.parametrize(
    ("name", "stem", "strides"), [("preresnet18", "small", [1, 2, 4, 8]), ("preresnet20", "imagenet", [4, 8, 16])]
)
def test_classes_channels_and_stem_can_be_chosen(name: str, stem: str, strides: list[int]) -> None:
    net = on_meta(name, classes=7, channels=4, stem=stem).eval()
    assert net.strides == strides
    assert net.get_submodule(net.first).in_channels == 4
    assert net(torch.empty(1, 4, net.smallest, net.smallest, device="meta")).shape == (1, 7)
    with pytest.raises(SkipwayError, match=f"smallest is {net.smallest}"):
        net(torch.empty(1, 4, net.smallest - 1, net.smallest, device="meta"))


def test_features_are_not_overwritten_by_the_stages_that_follow() -> None:
    net = build("preresnet20").train()
    maps = net.features(torch.randn(2, 3, 8, 8))
    with torch.no_grad():
        kept = [m.clone() for m in maps]
        net.layer2(maps[0])
        net.layer3(maps[1])
    assert all(torch.equal(a, b) for a, b in zip(maps, kept, strict=True))


def test_stochastic_depth_finds_every_unit() -> None:
    for name, units in (("preresnet20", 9), ("resnet110_exclusive_gate", 54), ("resnet164_relu_only", 54)):
        net = on_meta(name)
        add_stochastic_depth(net, 0.5)
        dropped_units = [m for m in net.modules() if type(m).__name__ == "StochasticDepth"]
        assert [len(dropped_units), dropped_units[-1].p] == [units, 0.5]


KINDS = {
    "full, basic": lambda: PreResNet(FULL_A, (1, 1, 1), 8, small_stem, 4, 3),
    "full, basic, projected": lambda: PreResNet(FULL_BASIC, (1, 1), 8, small_stem, 4, 3),
    "full, bottleneck": lambda: PreResNet(FULL_BOTTLENECK, (1, 1), 8, small_stem, 4, 3),
    "full, bottleneck v1": lambda: PreResNet(FULL_BOTTLENECK_V1, (1, 1), 8, small_stem, 4, 3),
    "relu only": lambda: PreResNet(RELU_ONLY_BOTTLENECK, (1, 1), 8, small_stem, 4, 3),
    "bn after": lambda: ResNet(private(basic, bn_after), 1, (1, 1), 8, shortcut_a, small_stem, 4, 3),
    "relu before": lambda: ResNet(private(basic, relu_before), 1, (1, 1), 8, shortcut_a, small_stem, 4, 3),
    "exclusive gate": lambda: ResNet(MAKERS["exclusive gate"][0], 1, (1, 1), 8, shortcut_a, small_stem, 4, 3),
    "shortcut gate": lambda: ResNet(Basic, 1, (1, 1), 8, MAKERS["shortcut gate"][1], small_stem, 4, 3),
    "convolution": lambda: ResNet(Basic, 1, (1, 1), 8, shortcut_c, small_stem, 4, 3),
    "dropout": lambda: ResNet(Basic, 1, (1, 1), 8, dropped, small_stem, 4, 3),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_learns_one_small_batch_by_heart(kind: str) -> None:
    net = KINDS[kind]().train()
    x, y = torch.randn(8, 3, 8, 8), torch.arange(8) % 4
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(40):
        loss = F.cross_entropy(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3, "a guess costs ln 4 = 1.39"
    assert all(p.grad is not None for p in net.parameters()), "every parameter must take part"


# ---------------------------------------------------------------------------------------------------------------------
# timm


def timms(depth: int, **options: object) -> nn.Module:
    return pytest.importorskip("timm").create_model(f"resnetv2_{depth}", pretrained=False, **options)


@pytest.mark.parametrize("layers", [18, 50])
def test_timms_weights_load_and_give_timms_scores(layers: int) -> None:
    theirs = shaken(timms(layers, num_classes=11)).eval()
    ours = build(f"preresnet{layers}", classes=11).eval()
    ours.load_state_dict(from_timm(theirs.state_dict()), strict=True)
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = theirs(x)
        torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("layers", [34, 101, 152])
def test_the_others_have_timms_names_and_shapes(layers: int) -> None:
    with torch.device("meta"):
        theirs = from_timm(timms(layers).state_dict())
        ours = build(f"preresnet{layers}").state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize(("layers", "design"), [(18, FULL_BASIC), (50, FULL_BOTTLENECK)])
def test_one_training_step_has_timms_loss_gradients_and_statistics(layers: int, design: Design) -> None:
    # In float64, where a different order of summation cannot pass for, or hide, a different computation.
    depths = (1, 2, 1, 1)
    theirs = timms(layers, num_classes=7, layers=depths).double().train()
    ours = PreResNet(design, depths, 64, imagenet_stem, 7, 3).double().train()
    ours.load_state_dict(from_timm(theirs.state_dict()))
    x, y = torch.randn(2, 3, 64, 64, dtype=torch.float64), torch.tensor([1, 5])
    losses = []
    for net in (ours, theirs):
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-9, atol=1e-9)
    expected = from_timm({k: p.grad for k, p in theirs.named_parameters()})
    assert set(expected) == {k for k, _ in ours.named_parameters()}
    for key, value in ours.named_parameters():
        torch.testing.assert_close(value.grad, expected[key], rtol=1e-6, atol=1e-9, msg=lambda m, k=key: f"{k}: {m}")
    buffers = from_timm(dict(theirs.named_buffers()))
    for key, value in ours.named_buffers():
        torch.testing.assert_close(value, buffers[key], rtol=1e-9, atol=1e-9)
