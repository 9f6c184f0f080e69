"""The U-Net against `UNet2DModel` of diffusers: counts, names and outputs."""

import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from twins import parameters, shaken

from skipway.models.generation.registry import create_generator
from skipway.models.generation.unet import ADM, DDPM, Attention, Form, VelocityUNet

FORMS = {"plain": DDPM, "scale-shift": ADM}
BLOCKS = {"plain": ("DownBlock2D", "UpBlock2D"), "scale-shift": ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")}
COUNTS = {"plain": 1_625_603, "scale-shift": 1_924_035}  # 32 x (1, 2, 2), 2 units, attention at level 1, 10 labels
SIZES = {  # channels of the levels, units, levels with attention, channels of the images, channels a head
    "unet8": ((32, 32), 1, (), 1, 32),
    "unet28": ((64, 64), 1, (1,), 4, 64),  # 2x2 pixels of grey images
    "unet32": ((64, 128, 128, 128), 2, (1,), 3, 64),
    "unet32_base": ((128, 256, 256, 256), 2, (1,), 3, 64),
    "unet64": ((64, 128, 256, 256), 2, (2, 3), 3, 64),
}


def theirs(form: str, size: tuple, labels: int | None) -> nn.Module:
    """diffusers' network of a `size` as above; `labels` counts the null class."""
    widths, units, attention, channels, head = size
    down, up = BLOCKS[form]
    groups = min(32, min(widths) // 4)
    settings: dict[str, Any] = {
        "in_channels": channels,
        "out_channels": channels,
        "block_out_channels": widths,
        "layers_per_block": units,
        "down_block_types": tuple("AttnDownBlock2D" if i in attention else down for i in range(len(widths))),
        "up_block_types": tuple("AttnUpBlock2D" if i in attention else up for i in reversed(range(len(widths)))),
        "downsample_type": "conv" if form == "plain" else "resnet",
        "upsample_type": "conv" if form == "plain" else "resnet",
        "resnet_time_scale_shift": "default" if form == "plain" else "scale_shift",
        "attention_head_dim": head,
        "num_class_embeds": labels,
        "norm_num_groups": groups,
        "attn_norm_num_groups": groups,
        "norm_eps": 1e-5,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies
        diffusers = pytest.importorskip("diffusers")
        return diffusers.UNet2DModel(**settings)


SMALL = ((32, 64, 64), 2, (1,), 3, 32)


def ours(form: Form, classes: int) -> VelocityUNet:
    return VelocityUNet(form, (32, 64, 64), 2, (1,), 32, classes, 3)


def evaluated(net: nn.Module, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
    with torch.no_grad():
        return net.eval()(x, 1000 * t, y).sample


def assert_equal_in_float32(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=3e-6 * float(wanted.abs().max()))


@pytest.mark.parametrize("form", FORMS)
def test_both_forms_have_as_many_parameters(form: str) -> None:
    with torch.device("meta"):
        assert parameters(ours(FORMS[form], 9)) == parameters(theirs(form, SMALL, 10)) == COUNTS[form]


@pytest.mark.parametrize("size", [(16, 16), (8, 24)], ids=str)
@pytest.mark.parametrize("classes", [0, 9])
@pytest.mark.parametrize("form", FORMS)
def test_weights_load_in_both_directions_and_outputs_are_equal(form: str, classes: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net, twin = shaken(ours(FORMS[form], classes)).eval(), theirs(form, SMALL, classes + 1 if classes else None)
    twin.load_state_dict(net.state_dict(), strict=True)
    x, t = torch.randn(4, 3, *size), torch.tensor([0.0, 0.3, 0.77, 1.0])
    y = torch.tensor([0, 3, 8, 9]) if classes else None  # 9 is the null class
    with torch.no_grad():
        assert_equal_in_float32(net(x, t, y), evaluated(twin, x, t, y))
    shaken(twin)
    net.load_state_dict(twin.state_dict(), strict=True)
    with torch.no_grad():
        assert_equal_in_float32(net(x, t, y), evaluated(twin, x, t, y))


@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_equal(form: str) -> None:
    torch.manual_seed(0)
    net, twin = shaken(ours(FORMS[form], 9)), theirs(form, SMALL, 10)
    twin.load_state_dict(net.state_dict(), strict=True)
    x, t, y = torch.randn(2, 3, 8, 8), torch.rand(2), torch.tensor([1, 9])
    net.train()(x, t, y).square().mean().backward()
    twin.train()(x, 1000 * t, y).sample.square().mean().backward()
    wanted = dict(twin.named_parameters())
    for name, parameter in net.named_parameters():
        limit = 1e-4 * float(wanted[name].grad.abs().max()) + 1e-6
        torch.testing.assert_close(parameter.grad, wanted[name].grad, rtol=0, atol=limit, msg=lambda m, n=name: n + m)


def groups_and_heads(net: nn.Module) -> dict[str, int]:
    """The groups of every normalisation and the heads of every attention, by name."""
    found = {}
    for name, module in net.named_modules():
        if isinstance(module, nn.GroupNorm):
            found[name] = module.num_groups
        elif isinstance(module, Attention):
            found[name] = module.to_q.out_features // module.head
        elif type(module).__name__ == "Attention":  # theirs
            found[name] = module.heads
    return found


@pytest.mark.parametrize("name", SIZES)
def test_named_sizes_have_the_names_shapes_groups_and_heads_of_the_second_form(name: str) -> None:
    channels = 3 if SIZES[name][3] == 3 else 1
    with torch.device("meta"):
        net, twin = create_generator(name, 10, channels), theirs("scale-shift", SIZES[name], 11)
    shapes = [{key: value.shape for key, value in each.state_dict().items()} for each in (net, twin)]
    assert shapes[0] == shapes[1]
    assert groups_and_heads(net) == groups_and_heads(twin)


def test_a_folded_network_is_theirs_on_squares_of_pixels() -> None:
    torch.manual_seed(0)
    net, twin = shaken(create_generator("unet28", 10, 1)).eval(), theirs("scale-shift", SIZES["unet28"], 11)
    twin.load_state_dict(net.state_dict(), strict=True)
    x, t, y = torch.randn(2, 1, 28, 20), torch.rand(2), torch.tensor([4, 10])
    corners = torch.cat([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)], 1)
    wanted = F.pixel_shuffle(evaluated(twin, corners, t, y), 2)
    with torch.no_grad():
        assert_equal_in_float32(net(x, t, y), wanted)
