"""The velocity U-Net: parameters by size, images of every shape, types, memory and the contract of residual units."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from twins import parameters, shaken

from skipway.errors import SkipwayError
from skipway.models.generation.registry import create_generator
from skipway.models.generation.unet import (
    ADM,
    DDPM,
    Attention,
    Form,
    Unit,
    VelocityUNet,
    cropped,
    doubled,
    folded,
    halved,
    sinusoids,
    unfolded,
)
from skipway.models.stochastic_depth import ResidualUnit, add_stochastic_depth

FORMS = pytest.mark.parametrize("form", [DDPM, ADM], ids=["plain", "scale-shift"])
SIZES = pytest.mark.parametrize("size", [(16, 16), (13, 16), (9, 21), (4, 4), (5, 31)], ids=str)


def small(form: Form = ADM, classes: int = 3, channels: int = 3, dropout: float = 0.0, fold: int = 1) -> VelocityUNet:
    """Three levels of 16, 32 and 32 channels, attention in the second."""
    return VelocityUNet(form, (16, 32, 32), 1, (1,), 16, classes, channels, dropout, fold)


def batch(channels: int = 3, size: tuple[int, int] = (8, 8), number: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Images, times and labels, the last of which is the null class of `small`."""
    return torch.randn(number, channels, *size), torch.rand(number), 3 - torch.arange(number) % 4


# ---------------------------------------------------------------------------------------------------------------------
# Sizes


@pytest.mark.parametrize(
    ("name", "channels", "wanted"),
    [
        ("unet8", 1, 341_345),
        ("unet28", 1, 1_408_196),
        ("unet32", 3, 10_735_875),
        ("unet32_base", 3, 42_861_059),
        ("unet64", 3, 30_328_323),
    ],
)
def test_parameters_with_ten_classes(name: str, channels: int, wanted: int) -> None:
    with torch.device("meta"):
        assert parameters(create_generator(name, 10, channels)) == wanted


@pytest.mark.parametrize(
    ("name", "shape", "millions"),
    [("unet8", (1, 8, 8), 8.5), ("unet28", (1, 28, 28), 107), ("unet32", (3, 32, 32), 1_820)],
)
def test_multiply_adds_of_an_image(name: str, shape: tuple[int, int, int], millions: float) -> None:
    with torch.device("meta"):
        net, x, t = create_generator(name, 10, shape[0]), torch.empty(1, *shape), torch.empty(1)
    with FlopCounterMode(display=False) as counted, torch.no_grad():
        net(x, t)
    assert counted.get_total_flops() / 2e6 == pytest.approx(millions, rel=0.03)


def test_the_fields_describe_the_levels() -> None:
    net = small(fold=2)
    assert (net.channels, net.strides, net.smallest) == ([16, 32, 32], [2, 4, 8], 8)
    maps: list[Tensor] = []
    for level in net.down_blocks:
        level.attentions[-1].register_forward_hook(lambda module, given, out: maps.append(out))
    net(*batch(size=(24, 40)))
    assert [tuple(m.shape[1:]) for m in maps] == [(16, 12, 20), (32, 6, 10), (32, 3, 5)]
    assert isinstance(net.get_submodule(net.first), torch.nn.Conv2d)


# ---------------------------------------------------------------------------------------------------------------------
# Images


@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize("channels", [1, 3, 4])
@FORMS
def test_the_velocity_is_zero_at_the_start_whatever_the_channels(form: Form, channels: int, fold: int) -> None:
    x, t, y = batch(channels, (11, 14))
    assert torch.equal(small(form, 3, channels, fold=fold)(x, t, y), torch.zeros_like(x))


@FORMS
@SIZES
def test_every_pixel_of_images_of_any_size_counts(form: Form, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x, t, y = batch(size=size)
    x.requires_grad_()
    v = shaken(small(form))(x, t, y)
    assert v.shape == x.shape
    (gradient,) = torch.autograd.grad((v * torch.randn_like(v)).sum(), x)
    assert bool((gradient != 0).all())


@pytest.mark.parametrize("size", [(8, 8), (9, 14), (15, 15)], ids=str)
def test_every_pixel_of_folded_images_of_any_size_counts(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x, t, y = batch(1, size)
    x.requires_grad_()
    v = shaken(small(channels=1, fold=2))(x, t, y)
    assert v.shape == x.shape
    (gradient,) = torch.autograd.grad((v * torch.randn_like(v)).sum(), x)
    assert bool((gradient != 0).all())


@FORMS
def test_an_image_alone_is_its_row_of_a_batch(form: Form) -> None:
    torch.manual_seed(0)
    net, (x, t, y) = shaken(small(form)).eval(), batch(number=4)
    with torch.no_grad():
        whole = net(x, t, y)
        rows = torch.cat([net(x[i : i + 1], t[i : i + 1], y[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(rows, whole, rtol=1e-5, atol=1e-5 * float(whole.abs().max()))


def test_images_that_do_not_fit_are_refused_in_one_line() -> None:
    net, t = small(), torch.rand(1)
    with pytest.raises(SkipwayError, match=r"images of 3 pixels are too small for this network: the smallest is 4"):
        net(torch.randn(1, 3, 3, 16), t)
    with pytest.raises(SkipwayError, match=r"shape \(1, 1, 8, 8\) do not fit this network: it expects \(N, 3, H, W\)"):
        net(torch.randn(1, 1, 8, 8), t)
    with pytest.raises(SkipwayError, match=r"it expects \(N, 1, H, W\)"):  # folded: the channels of the image
        small(channels=1, fold=2)(torch.randn(1, 4, 8, 8), t)


@pytest.mark.parametrize("size", [(4, 6), (5, 6), (7, 3), (1, 1)], ids=str)
def test_a_halved_map_has_the_means_of_the_pixels_that_exist(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    wanted = np.array(
        [
            [x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].numpy().mean((2, 3)) for j in range(-(-size[1] // 2))]
            for i in range(-(-size[0] // 2))
        ]
    ).transpose(2, 3, 0, 1)
    np.testing.assert_allclose(halved(x).numpy(), wanted, rtol=1e-12)


def test_doubling_a_halved_map_gives_its_size_back_after_cropping() -> None:
    x = torch.randn(1, 2, 7, 10)
    back = cropped(doubled(halved(x)), x.shape[2:])
    assert back.shape == x.shape
    assert torch.equal(back[:, :, ::2, ::2], halved(x))


@pytest.mark.parametrize("size", [(4, 6), (5, 6), (7, 3)], ids=str)
def test_unfolding_gives_the_pixels_back(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size)
    squares = folded(x, 2)
    assert squares.shape == (2, 12, -(-size[0] // 2), -(-size[1] // 2))
    assert torch.equal(unfolded(squares, 2, x.shape[2:]), x)
    assert torch.equal(squares[:, :4, 0, 0], x[:, 0, :2, :2].flatten(1))
    repeated = np.pad(x.numpy(), ((0, 0), (0, 0), (0, size[0] % 2), (0, size[1] % 2)), mode="edge")
    assert np.array_equal(squares[:, 7, -1].numpy(), repeated[:, 1, -1, 1::2])  # channel 1's lower right pixels


# ---------------------------------------------------------------------------------------------------------------------
# Time and class


def test_the_embedding_of_time_is_the_closed_form() -> None:
    positions = [0.0, 1.0, 314.15, 1000.0]
    wanted = [[f(p * 10_000 ** (-i / 4)) for f in (math.cos, math.sin) for i in range(4)] for p in positions]
    found = sinusoids(torch.tensor(positions), 8)
    np.testing.assert_allclose(found.numpy(), np.array(wanted), atol=5e-5)  # sines of 1000 in float32


@pytest.mark.parametrize(
    ("given", "found"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_the_embedding_of_time_is_in_float32_or_better(given: torch.dtype, found: torch.dtype) -> None:
    assert sinusoids(torch.tensor([3.0], dtype=given), 8).dtype == found


@FORMS
def test_without_labels_images_are_of_the_null_class(form: Form) -> None:
    torch.manual_seed(0)
    net, (x, t, _) = shaken(small(form)).eval(), batch()
    with torch.no_grad():
        assert torch.equal(net(x, t), net(x, t, torch.full((3,), net.classes)))
        outputs = [net(x, t, torch.full((3,), label)) for label in range(4)]
        later = net(x, t + 0.1)
    assert min(float((a - b).abs().max()) for i, a in enumerate(outputs) for b in outputs[:i]) > 1e-3
    assert float((later - outputs[3]).abs().max()) > 1e-3


def test_without_classes_labels_are_not_used() -> None:
    torch.manual_seed(0)
    net, (x, t, y) = shaken(small(classes=0)).eval(), batch()
    assert not [name for name in net.state_dict() if name.startswith("class_embedding")]
    with torch.no_grad():
        assert torch.equal(net(x, t, y), net(x, t))


# ---------------------------------------------------------------------------------------------------------------------
# Types, memory, graphs


@FORMS
def test_channels_last_gives_the_same_velocities(form: Form) -> None:
    torch.manual_seed(0)
    net, (x, t, y) = shaken(small(form)).eval(), batch(size=(9, 12))
    with torch.no_grad():
        wanted = net(x, t, y)
        net.to(memory_format=torch.channels_last)
        found = net(x.contiguous(memory_format=torch.channels_last), t, y)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


@FORMS
def test_no_map_leaves_the_channels_last_format(form: Form) -> None:
    net, (x, t, y) = small(form).to(memory_format=torch.channels_last), batch(size=(8, 12))
    seen: list[bool] = []
    for module in net.modules():
        if isinstance(module, Unit | Attention | torch.nn.Conv2d | torch.nn.GroupNorm):
            module.register_forward_hook(
                lambda module, given, out: seen.append(out.is_contiguous(memory_format=torch.channels_last))
            )
    net(x.contiguous(memory_format=torch.channels_last), t, y)
    assert len(seen) > 50
    assert all(seen)


@FORMS
def test_autocast_to_bfloat16_gives_velocities_in_the_type_of_the_images(form: Form) -> None:
    torch.manual_seed(0)
    net, (x, t, y) = shaken(small(form)), batch()
    wanted = net(x, t, y)
    with torch.autocast("cpu", torch.bfloat16):
        found = net(x, t, y)
    found.square().mean().backward()
    assert found.dtype == torch.float32
    assert float(((found - wanted).norm() / wanted.norm()).detach()) < 0.05
    assert all(bool(p.grad.isfinite().all()) for p in net.parameters())


def step(net: VelocityUNet) -> tuple[Tensor, dict[str, Tensor], int]:
    """The loss of a training step on fixed images, its gradients, and the bytes kept for the backward pass."""
    torch.manual_seed(5)
    x, t, y = torch.randn(4, 3, 16, 16, dtype=torch.float64), torch.rand(4), torch.arange(4)
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = net.train()(x, t, y).square().mean()
    loss.backward()
    return loss.detach(), {name: p.grad for name, p in net.named_parameters()}, sum(kept.values())


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@FORMS
def test_recomputing_units_keeps_fewer_bytes_and_the_same_gradients(form: Form, dropout: float) -> None:
    torch.manual_seed(0)
    net = shaken(small(form, dropout=dropout)).double()
    loss, gradients, kept = step(net)
    names = list(net.state_dict())
    net.zero_grad()
    assert net.save_memory()
    again, recomputed, fewer = step(net)
    assert torch.equal(loss, again)
    assert list(net.state_dict()) == names
    for name, gradient in gradients.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=1e-9, atol=1e-12)
    assert fewer < 0.6 * kept


@FORMS
def test_every_parameter_has_a_gradient(form: Form) -> None:
    torch.manual_seed(0)
    net = shaken(small(form)).double()
    assert [name for name, gradient in step(net)[1].items() if gradient is None or not gradient.any()] == []


def test_dropout_is_of_training_alone() -> None:
    torch.manual_seed(0)
    net, (x, t, y) = shaken(small(dropout=0.5)), batch()
    with torch.no_grad():
        assert not torch.equal(net(x, t, y), net(x, t, y))
        net.eval()
        assert torch.equal(net(x, t, y), net(x, t, y))


@pytest.mark.parametrize("recomputed", [False, True])
def test_compilers_see_one_graph(recomputed: bool) -> None:
    torch.manual_seed(0)
    net, (x, t, y) = shaken(VelocityUNet(ADM, (8, 16), 1, (), 8, 3, 3)), batch(size=(9, 8))
    if recomputed:
        net.save_memory()
    wanted = net(x, t, y)
    found = torch.compile(net, backend="eager", fullgraph=True)(x, t, y)
    torch.testing.assert_close(found, wanted)


# ---------------------------------------------------------------------------------------------------------------------
# Residual units


@pytest.mark.parametrize("resize", [None, halved, doubled], ids=["same", "halved", "doubled"])
@pytest.mark.parametrize("c_out", [16, 24])
@FORMS
def test_a_unit_is_the_sum_of_its_shortcut_and_branch_and_starts_as_the_shortcut(
    form: Form, c_out: int, resize: Callable[[Tensor], Tensor] | None
) -> None:
    torch.manual_seed(0)
    unit = Unit(16, c_out, form.conditioning, 12, 4, 0.0, resize)
    x, embedding = torch.randn(2, 16, 5, 6), torch.randn(2, 12)
    assert isinstance(unit, ResidualUnit)
    assert torch.equal(unit(x, embedding), unit.skip(x))
    shaken(unit)
    torch.testing.assert_close(unit(x, embedding), unit.skip(x) + unit.branch(x, embedding))
    if c_out == 16:
        assert torch.equal(unit.skip(x), x if resize is None else resize(x))


def test_attention_starts_as_the_identity_and_moves_with_its_positions() -> None:
    torch.manual_seed(0)
    attention, x = Attention(16, 4, 8), torch.randn(2, 16, 3, 4)
    assert torch.equal(attention(x), x)
    shaken(attention)
    order = torch.randperm(12)
    moved = x.flatten(2)[:, :, order].unflatten(2, (3, 4))
    wanted = attention(x).flatten(2)[:, :, order].unflatten(2, (3, 4))
    torch.testing.assert_close(attention(moved), wanted)


@FORMS
def test_dropping_every_branch_leaves_the_shortcuts(form: Form) -> None:
    torch.manual_seed(0)
    net, (x, t, y) = shaken(small(form)), batch()
    units = [unit for unit in net.modules() if isinstance(unit, ResidualUnit)]
    assert add_stochastic_depth(net, 0.5) == len(units)
    embedding = net.embedding(t, y, x.dtype)
    for unit in units:
        if isinstance(unit, Unit):
            unit.drop.p = 1.0
            z = torch.randn(3, unit.conv1.in_channels, 8, 8)
            assert torch.equal(unit(z, embedding), unit.skip(z))
    assert bool(net(x, t, y).isfinite().all())
