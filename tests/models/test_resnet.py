"""The networks against the papers' counts and NumPy."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from twins import on_meta, parameters

from skipway.errors import SkipwayError, UnknownNameError
from skipway.models import NETWORKS, build, list_models, require_size, resnet, stem_for
from skipway.models.resnet import SHORTCUTS, Basic, Bottleneck, Plain, v1, zero_last_scale

# torchvision's published counts, and by hand from section 4.2 for the CIFAR nets with option A.
COUNTS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnet50_v1": 25_557_032,
    "resnet101_v1": 44_549_160,
    "resnet152_v1": 60_192_808,
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    "resnet110": 1_727_962,
    "resnet1202": 19_421_274,
    "plain20": 269_722,
    "plain32": 464_154,
    "plain44": 658_586,
    "plain56": 853_018,
    "plain110": 1_727_962,
    # resnet18's and 34's without their three projections: 64 to 128, 128 to 256 and 256 to 512, each with its norm
    "plain18": 11_689_512 - (64 * 128 + 2 * 128) - (128 * 256 + 2 * 256) - (256 * 512 + 2 * 512),
    "plain34": 21_797_672 - (64 * 128 + 2 * 128) - (128 * 256 + 2 * 256) - (256 * 512 + 2 * 512),
}


def shaken(net: nn.Module) -> nn.Module:
    """`net` with every normalisation's numbers off their defaults, so that none can be left out unnoticed."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.2, 0.6)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return net


def units(net: nn.Module) -> Iterator[Basic | Bottleneck]:
    return (m for m in net.modules() if isinstance(m, Basic | Bottleneck))


@pytest.mark.parametrize("name", COUNTS)
def test_the_parameter_count_is_the_papers_to_the_unit(name: str) -> None:
    assert parameters(on_meta(name)) == COUNTS[name]


def test_no_network_goes_uncounted() -> None:
    assert set(COUNTS) == set(resnet.NETWORKS)


@pytest.mark.parametrize("n", [3, 5, 7, 9, 18, 200])
def test_a_cifar_net_counts_what_section_4_2_says(n: int) -> None:
    stem, classifier = 3 * 16 * 9 + 2 * 16, 64 * 10 + 10

    def stage(c_in: int, c_out: int) -> int:
        convolutions = c_in * c_out * 9 + (2 * n - 1) * c_out * c_out * 9
        return convolutions + 2 * n * 2 * c_out

    expected = stem + stage(16, 16) + stage(16, 32) + stage(32, 64) + classifier
    assert parameters(on_meta(f"resnet{6 * n + 2}")) == expected
    assert sum(1 for m in on_meta(f"resnet{6 * n + 2}").modules() if isinstance(m, nn.Conv2d)) == 6 * n + 1


def test_our_weights_load_into_torchvision() -> None:
    theirs = torchvision.models.resnet18(weights=None)
    ours = build("resnet18").eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), theirs.eval()(x), rtol=1e-4, atol=1e-5)


def test_v1_strides_in_the_first_1x1_and_the_others_in_the_3x3() -> None:
    for name in ("resnet50", "resnet101", "resnet152"):
        for version, expected in ((name, [(1, 2)] * 3), (f"{name}_v1", [(2, 1)] * 3)):
            firsts = [on_meta(version).get_submodule(f"layer{i}.0") for i in (2, 3, 4)]
            assert [(u.conv1.stride[0], u.conv2.stride[0]) for u in firsts] == expected, version


def test_a_v1_unit_sees_every_second_pixel_only_and_the_other_form_all_of_them() -> None:
    x = torch.randn(1, 16, 8, 8)
    odd = x.clone()
    odd[:, :, 1::2, :] += 1  # no kernel of one pixel with stride 2 looks at these
    for make, blind in ((v1, True), (Bottleneck, False)):
        unit = make(16, 4, 2, SHORTCUTS["B"]).eval()
        with torch.no_grad():
            assert torch.equal(unit(x), unit(odd)) is blind


@pytest.mark.parametrize("name", COUNTS)
def test_channels_and_strides_describe_the_maps(name: str) -> None:
    net = on_meta(name).eval()
    size = 4 * net.smallest
    maps = net.features(torch.empty(2, 3, size, size, device="meta"))
    expected = [(2, c, size // s, size // s) for c, s in zip(net.channels, net.strides, strict=True)]
    assert [tuple(m.shape) for m in maps] == expected
    assert net.strides == ([4, 8, 16, 32] if len(net.strides) == 4 else [1, 2, 4])
    assert net(torch.empty(2, 3, size, size, device="meta")).shape == (2, net.fc.out_features)


def test_the_maps_are_those_that_the_scores_come_from() -> None:
    net = build("resnet20").eval()
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        pooled = net.features(x)[-1].numpy().mean(axis=(2, 3))
        expected = pooled @ net.fc.weight.numpy().T + net.fc.bias.numpy()
        np.testing.assert_allclose(net(x).numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("c_in", "c_out", "stride", "side"), [(4, 8, 2, 8), (4, 8, 2, 7), (4, 6, 1, 5), (3, 3, 2, 5)])
def test_option_a_is_every_second_pixel_and_zeros_in_numpy(c_in: int, c_out: int, stride: int, side: int) -> None:
    x = torch.randn(2, c_in, side, side)
    picked = x.numpy()[:, :, ::stride, ::stride]
    zeros = np.zeros((2, c_out - c_in, *picked.shape[2:]), np.float32)
    shortcut = SHORTCUTS["A"](c_in, c_out, stride)
    np.testing.assert_array_equal(shortcut(x).numpy(), np.concatenate([picked, zeros], axis=1))
    assert parameters(shortcut) == 0


@pytest.mark.parametrize("side", [8, 7])
def test_option_a_in_training_has_the_values_and_gradients_of_the_slice(side: int) -> None:
    shortcut = SHORTCUTS["A"](4, 8, 2)
    x, gradient = torch.randn(2, 4, side, side), torch.randn(2, 8, (side + 1) // 2, (side + 1) // 2)
    found = []
    for training in (True, False):
        leaf = x.clone(memory_format=torch.channels_last).requires_grad_()
        out = shortcut.train(training)(leaf)
        (back,) = torch.autograd.grad(out, leaf, gradient.contiguous(memory_format=torch.channels_last))
        found.append((out, back))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
    assert found[0][1].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("option", ["A", "B"])
def test_options_a_and_b_are_the_identity_where_the_shape_stays(option: str) -> None:
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(SHORTCUTS[option](8, 8, 1)(x), x)


@pytest.mark.parametrize(
    ("unit", "c_in", "width", "stride"),
    [(Basic, 8, 8, 1), (Basic, 8, 16, 2), (Bottleneck, 16, 4, 1), (Bottleneck, 16, 8, 2), (v1, 16, 8, 2)],
)
def test_a_unit_is_the_rectified_sum_of_skip_and_branch(unit: type, c_in: int, width: int, stride: int) -> None:
    net = shaken(unit(c_in, width, stride, SHORTCUTS["B"])).eval()
    x = torch.randn(2, c_in, 8, 8)
    with torch.no_grad():
        skip, branch = net.skip(x).clone().numpy(), net.branch(x).clone().numpy()
        before = x.clone()
        out = net(x).numpy()
    np.testing.assert_allclose(out, np.maximum(skip + branch, 0), rtol=1e-6, atol=1e-6)
    assert (skip + branch < 0).any(), "the rectifier must have had something to do"
    assert torch.equal(x, before), "a unit must not write into its input"


def test_a_basic_units_branch_is_the_published_sequence() -> None:
    unit = shaken(Basic(4, 8, 2, SHORTCUTS["A"])).eval()
    x = torch.randn(2, 4, 9, 9)

    def norm(y: Tensor, m: nn.BatchNorm2d) -> Tensor:
        shape = (1, -1, 1, 1)
        centred = (y - m.running_mean.view(shape)) / (m.running_var.view(shape) + 1e-5).sqrt()
        return centred * m.weight.view(shape) + m.bias.view(shape)

    with torch.no_grad():
        y = norm(F.conv2d(x, unit.conv1.weight, stride=2, padding=1), unit.bn1).clamp(min=0)
        y = norm(F.conv2d(y, unit.conv2.weight, padding=1), unit.bn2)
        torch.testing.assert_close(unit.branch(x), y, rtol=1e-5, atol=1e-5)


def test_a_plain_unit_has_no_way_around_its_convolutions() -> None:
    unit = Plain(8, 8, 1, SHORTCUTS["B"]).eval()
    assert not hasattr(unit, "skip")
    nn.init.zeros_(unit.conv2.weight)
    with torch.no_grad():
        assert not unit(torch.rand(1, 8, 4, 4)).any(), "with its branch dead, nothing may come through"


def test_a_plain_net_is_its_residual_twin_without_the_sums() -> None:
    twin, plain = build("resnet20").eval(), build("plain20").eval()
    plain.load_state_dict(twin.state_dict(), strict=True)
    x = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        y = F.relu(twin.bn1(twin.conv1(x)))
        for unit in units(twin):
            y = F.relu(unit.branch(y))
        torch.testing.assert_close(plain(x), twin.fc(y.mean((2, 3))), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "changes", "keeps"),
    [
        # (c_in, c_out) of each unit where the shape changes, and of each where it stays
        ("resnet20", [(16, 32), (32, 64)], [(16, 16)] * 3 + [(32, 32)] * 2 + [(64, 64)] * 2),
        ("resnet18", [(64, 128), (128, 256), (256, 512)], [(c, c) for c in (64, 64, 128, 256, 512)]),
        (
            "resnet50",
            [(64, 256), (256, 512), (512, 1024), (1024, 2048)],
            [(256, 256)] * 2 + [(512, 512)] * 3 + [(1024, 1024)] * 5 + [(2048, 2048)] * 2,
        ),
    ],
)
def test_shortcuts_cost_what_a_projection_costs(
    name: str, changes: list[tuple[int, int]], keeps: list[tuple[int, int]]
) -> None:
    def projections(shapes: list[tuple[int, int]]) -> int:
        return sum(c_in * c_out + 2 * c_out for c_in, c_out in shapes)

    a, b, c = (parameters(on_meta(name, shortcut=option)) for option in "ABC")
    assert b - a == projections(changes)
    assert c - b == projections(keeps)


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "resnet50"])
def test_zero_last_scale_makes_units_the_identity_on_what_is_not_negative(name: str) -> None:
    net = build(name).train()
    zero_last_scale(net)
    seen = 0
    for unit in units(net):
        if isinstance(unit.downsample, nn.Identity):
            x = torch.rand(2, unit.conv1.in_channels, 4, 4)
            assert torch.equal(unit(x), x)
            seen += 1
    assert seen == {"resnet20": 7, "resnet18": 5, "resnet50": 12}[name]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "plain20"])
def test_convolutions_start_with_hes_deviation_and_the_classifier_small(name: str) -> None:
    net = build(name)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            count = module.weight.numel()
            expected = math.sqrt(2 / (module.out_channels * module.kernel_size[0] * module.kernel_size[1]))
            # The deviation of a sample of `count` deviates by 1/sqrt(2 count) of itself: five of those.
            assert abs(module.weight.std().item() / expected - 1) < 5 / math.sqrt(2 * count)
            assert abs(module.weight.mean().item()) < 5 * expected / math.sqrt(count)
    assert net.fc.weight.std().item() == pytest.approx(0.01, rel=5 / math.sqrt(2 * net.fc.weight.numel()))
    assert not net.fc.bias.any()


@pytest.mark.parametrize(
    ("name", "size"), [("resnet20", 32), ("resnet56", 32), ("plain20", 32), ("resnet18", 64), ("resnet50_v1", 64)]
)
@pytest.mark.parametrize("classes", [10, 100])
def test_the_first_loss_is_that_of_a_guess(name: str, size: int, classes: int) -> None:
    net = build(name, classes=classes).train()
    with torch.no_grad():
        loss = F.cross_entropy(net(torch.randn(8, 3, size, size)), torch.arange(8))
    assert loss.item() == pytest.approx(math.log(classes), rel=0.08)


@pytest.mark.parametrize(
    ("name", "smallest"), [("resnet18", 32), ("resnet152_v1", 32), ("plain34", 32), ("resnet20", 4), ("resnet1202", 4)]
)
def test_images_below_the_smallest_are_refused_with_that_number(name: str, smallest: int) -> None:
    net = on_meta(name)
    assert net.smallest == smallest
    require_size(name, net, smallest)
    with pytest.raises(SkipwayError, match=rf"{smallest - 1} pixels.*{name}.*{smallest}.*--size"):
        require_size(name, net, smallest - 1)


@pytest.mark.parametrize("name", ["resnet18", "resnet50_v1", "resnet20", "plain56"])
def test_the_smallest_input_leaves_one_pixel(name: str) -> None:
    net = on_meta(name).eval()
    side = net.smallest
    assert net.features(torch.empty(1, 3, side, side, device="meta"))[-1].shape[2:] == (1, 1)


@pytest.mark.parametrize(
    ("typed", "meant"), [("resnet5", "resnet56"), ("resnt50", "resnet50"), ("Resnet18", "resnet18")]
)
def test_an_unknown_name_is_answered_with_a_near_one(typed: str, meant: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        build(typed)
    answer = str(caught.value)
    assert f"'{typed}'" in answer
    assert "skipway list" in answer
    assert any(f"did you mean '{name}'" in answer for name in NETWORKS), answer
    assert meant[:6] in answer


def test_a_name_near_nothing_is_not_guessed_at() -> None:
    with pytest.raises(UnknownNameError) as caught:
        build("zzz")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"classes": 0}, "0 classes"),
        ({"classes": -3}, "-3 classes"),
        ({"channels": 0}, "0 input channels"),
        ({"stem": "smal"}, "did you mean 'small'"),
        ({"shortcut": "D"}, "one of A, B, C"),
        ({"shortcut": "b"}, "shortcut 'b'"),
    ],
)
def test_options_out_of_range_are_refused_in_words(options: dict, words: str) -> None:
    with pytest.raises(SkipwayError) as caught:
        build("resnet20", **options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["plain20", "plain18"])
def test_a_shortcut_for_a_net_without_any_is_refused_not_dropped(name: str) -> None:
    with pytest.raises(SkipwayError, match=name):
        build(name, shortcut="B")


@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize(("name", "size"), [("resnet20", 8), ("resnet18", 32), ("resnet50", 32)])
def test_any_number_of_channels_builds_and_runs(channels: int, name: str, size: int) -> None:
    net = on_meta(name, classes=4, channels=channels).eval()
    assert net(torch.empty(2, channels, size, size, device="meta")).shape == (2, 4)
    per_channel = net.conv1.weight.numel() // channels
    three = on_meta(name, classes=4)
    assert parameters(net) - parameters(three) == (channels - 3) * per_channel


def test_the_small_stem_keeps_every_pixel_and_the_other_a_quarter_a_side() -> None:
    x = torch.empty(1, 3, 64, 64, device="meta")
    small, large = on_meta("resnet18", stem="small").eval(), on_meta("resnet18", stem="imagenet").eval()
    assert small.features(x)[0].shape[2:] == (64, 64)
    assert large.features(x)[0].shape[2:] == (16, 16)
    assert small.strides == [1, 2, 4, 8]
    assert on_meta("resnet20", stem="imagenet").strides == [4, 8, 16]


@pytest.mark.parametrize(
    ("size", "stem"), [(8, "small"), (32, "small"), (64, "small"), (65, "imagenet"), (224, "imagenet")]
)
def test_the_stem_follows_the_size_of_the_images(size: int, stem: str) -> None:
    assert stem_for(size) == stem


def test_building_repeats_with_the_seed_and_only_then() -> None:
    def first(seed: int) -> Tensor:
        torch.manual_seed(seed)
        return build("resnet20").conv1.weight.detach()

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_listing_matches_patterns_and_parts_of_names() -> None:
    assert list_models() == list(NETWORKS)
    assert list_models("plain*") == [n for n in NETWORKS if n.startswith("plain")]
    assert list_models("_v1") == ["resnet50_v1", "resnet101_v1", "resnet152_v1"]
    assert list_models("nothing") == []
