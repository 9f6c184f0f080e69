"""`unet8` (models/generation/unet.py) without one of its parts, and with more units on each level.

- Without shortcuts a unit is its branch alone. Its last convolution is then not zeroed: every signal would be 0, and no
  weight but the last bias would have a gradient. The attention of the middle keeps its shortcut.
- Branches that are not zeroed end in a convolution as PyTorch initialises it.
- Without long skip connections the maps of the contracting path arrive as zeros on the way up: the number of
  parameters is the same, and those that multiply zeros are idle.

With the same seed, all parameters that two variants share start equal.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from skipway.models.generation.unet import ADM, DDPM, GENERATORS, Build, Form, Unit, UpLevel, VelocityUNet

WIDTHS, ATTENTION, HEAD = (32, 32), (), 32  # of `unet8`: channels of its levels, and attention in the middle only
Change = Callable[[VelocityUNet], None]


class Nothing(nn.Module):
    """(N, C, H, W) -> the number 0, which a unit without a shortcut adds to its branch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(())


class WithoutMaps(nn.Module):
    """A level of the expanding path that gets zeros instead of the maps of the contracting path."""

    def __init__(self, level: UpLevel) -> None:
        super().__init__()
        self.level = level

    def forward(self, x: Tensor, embedding: Tensor, maps: list[Tensor]) -> Tensor:
        """Takes the last of `maps` away, one for each unit, as `UpLevel` does."""
        count = len(self.level.resnets)
        blank = [torch.zeros_like(other) for other in maps[-count:]]
        del maps[-count:]
        return self.level(x, embedding, blank)


def residual_units(net: VelocityUNet) -> list[Unit]:
    """The units in the order in which a signal passes them."""
    return [module for module in net.modules() if isinstance(module, Unit)]


def no_shortcuts(net: VelocityUNet) -> None:
    for unit in residual_units(net):
        unit.add_module("conv_shortcut", Nothing())


def not_zeroed(net: VelocityUNet) -> None:
    for unit in residual_units(net):
        for convolution in unit.conv2.modules():
            assert isinstance(convolution, nn.Conv2d)
            convolution.reset_parameters()


def no_long_skips(net: VelocityUNet) -> None:
    net.up_blocks = nn.ModuleList(WithoutMaps(level) for level in net.up_blocks)  # type: ignore[arg-type]


def varied(form: Form, units: int, *changes: Change) -> Build:
    """`unet8` in a paper's form, with `units` units on each level, after `changes`."""

    def build(classes: int, channels: int, dropout: float = 0.0) -> VelocityUNet:
        net = VelocityUNet(form, WIDTHS, units, ATTENTION, HEAD, classes, channels, dropout)
        for change in changes:
            change(net)
        return net

    return build


VARIANTS: dict[str, Build] = {
    **{f"unet8_residual{units}": varied(ADM, units) for units in (1, 2, 4)},
    **{f"unet8_plain{units}": varied(ADM, units, not_zeroed, no_shortcuts) for units in (1, 2, 4)},
    **{f"unet8_not_zeroed{units}": varied(ADM, units, not_zeroed) for units in (1, 4)},
    "unet8_no_long_skips": varied(ADM, 1, no_long_skips),
    "unet8_ddpm": varied(DDPM, 1),
    "unet8_ddpm_plain": varied(DDPM, 1, not_zeroed, no_shortcuts),
}


@contextmanager
def variants_by_name() -> Iterator[None]:
    """Inside, the variants can be built and loaded by name like other generators. They are not listed otherwise."""
    GENERATORS.update(VARIANTS)
    try:
        yield
    finally:
        for name in VARIANTS:
            del GENERATORS[name]
