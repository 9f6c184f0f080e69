"""U-Net of residual units that predicts a velocity from a noisy image, its time and its class.

Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models. NeurIPS 2020, arXiv:2006.11239, app. B.
Dhariwal, Nichol: Diffusion Models Beat GANs on Image Synthesis. NeurIPS 2021, arXiv:2105.05233, sec. 3.

The papers' two forms of the network, `DDPM` and `ADM`, differ in how a unit uses the embedding of time and class, and
in how the size of maps changes. The named sizes have the second.

Differences from the papers:
- The output is the velocity of flow matching (Lipman et al. 2023, arXiv:2210.02747): noise minus image on the straight
  path from an image at t = 0 to noise at t = 1. The papers predict the noise. Time enters as 1000 t.
- The class embedding has one more row, for images whose class is not given (Ho, Salimans 2022, arXiv:2207.12598).
- Group normalisation has the same number of groups everywhere, a quarter of the narrowest level and at most 32; the
  papers have 32.
- Sides need not be divisible: maps of odd sides are halved upwards, and what is doubled is cut to the size of the
  map from the contracting path. The strided convolution of DDPM is padded by one pixel on every side.
- Small images may be folded: 2x2 pixels become four channels, and a quarter of the positions remain.
- Weights are initialised as PyTorch does, as in the code of ADM, and the last convolution of every branch and of
  the network with 0, so that every unit starts as its shortcut, and the velocity as 0.

State-dict names are those of `UNet2DModel` in diffusers.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.utils.checkpoint import checkpoint

from skipway.errors import SkipwayError
from skipway.models.base import Network, is_recorded

# ---------------------------------------------------------------------------------------------------------------------
# Parts


def conv3x3(c_in: int, c_out: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, 3, stride, padding=1)


Layer = TypeVar("Layer", bound=nn.Module)


def zeroed(layer: Layer) -> Layer:
    """`layer` with all its parameters 0."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Positions (N,) -> (N, width), `width` even: cosines, then sines, of frequencies from 1 to nearly 1 / 10,000.

    In float32, or in the type of the positions if that is more precise.
    """
    half = width // 2
    exponents = torch.arange(half, dtype=torch.float32, device=positions.device) * (-math.log(10_000) / half)
    angles = positions[:, None] * exponents.exp()
    return torch.cat([angles.cos(), angles.sin()], 1)


class TimeEmbedding(nn.Module):
    """Two linear layers. (N, c_in) -> (N, c_out)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = nn.Linear(c_in, c_out), nn.Linear(c_out, c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


def halved(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2)): means of 2x2 pixels, at an odd border of those that exist."""
    return F.avg_pool2d(x, 2, ceil_mode=True)


def doubled(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, C, 2 H, 2 W): every pixel four times."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def cropped(x: Tensor, size: Sequence[int]) -> Tensor:
    """(N, C, H, W) -> (N, C, *size), without the last rows and columns."""
    return x if x.shape[2:] == size else x[:, :, : size[0], : size[1]]


@dataclass(frozen=True)
class Conditioning:
    """How the embedding changes a map before the second convolution of a unit.

    `values`: how many numbers a channel takes from the embedding. `normalise`: the normalisation, the map (N, C, H, W)
    and those numbers (N, values C, 1, 1) -> the normalised map.
    """

    values: int
    normalise: Callable[[nn.Module, Tensor, Tensor], Tensor]


def shifted(norm: nn.Module, x: Tensor, embedding: Tensor) -> Tensor:
    """Added before the normalisation (DDPM, app. B)."""
    return norm(x + embedding)


def scaled_and_shifted(norm: nn.Module, x: Tensor, embedding: Tensor) -> Tensor:
    """A scale and a shift after the normalisation: adaptive group normalisation (ADM, sec. 3.1)."""
    scale, shift = embedding.chunk(2, 1)
    return torch.addcmul(shift, norm(x), 1 + scale)


class Unit(nn.Module):
    """A residual unit: two 3x3 convolutions, each after group normalisation and SiLU, and a shortcut.

    (N, c_in, H, W) and the embedding (N, E), on which SiLU has been applied, -> (N, c_out, H', W'), the size to which
    `resize` brings a map (halved, doubled). The shortcut is a 1x1 convolution where the number of channels changes.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        conditioning: Conditioning,
        embedded: int,
        groups: int,
        dropout: float,
        resize: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.normalise, self.resize, self.recomputed = conditioning.normalise, resize, False
        self.norm1, self.conv1 = nn.GroupNorm(groups, c_in), conv3x3(c_in, c_out)
        self.time_emb_proj = nn.Linear(embedded, conditioning.values * c_out)
        self.norm2, self.dropout, self.conv2 = (
            nn.GroupNorm(groups, c_out),
            nn.Dropout(dropout),
            zeroed(conv3x3(c_out, c_out)),
        )
        self.drop: nn.Module = nn.Identity()
        self.conv_shortcut = nn.Identity() if c_in == c_out else nn.Conv2d(c_in, c_out, 1)

    def skip(self, x: Tensor) -> Tensor:
        return self.conv_shortcut(x if self.resize is None else self.resize(x))

    def branch(self, x: Tensor, embedding: Tensor) -> Tensor:
        x = F.silu(self.norm1(x))
        x = self.conv1(x if self.resize is None else self.resize(x))
        x = F.silu(self.normalise(self.norm2, x, self.time_emb_proj(embedding)[:, :, None, None]))
        return self.drop(self.conv2(self.dropout(x)))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        if self.recomputed and self.training:
            return checkpoint(self.summed, x, embedding, use_reentrant=False)
        return self.summed(x, embedding)

    def summed(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.branch(x, embedding).add_(self.skip(x))


class Attention(nn.Module):
    """A residual unit in which every position attends to all (DDPM, app. B), with `head` channels a head.

    (N, C, H, W) -> (N, C, H, W).
    """

    def __init__(self, channels: int, groups: int, head: int) -> None:
        super().__init__()
        self.head = head
        self.group_norm = nn.GroupNorm(groups, channels)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.Sequential(zeroed(nn.Linear(channels, channels)))
        self.drop: nn.Module = nn.Identity()

    def skip(self, x: Tensor) -> Tensor:
        return x

    def branch(self, x: Tensor) -> Tensor:
        positions = self.group_norm(x).flatten(2).transpose(1, 2)  # (N, H W, C), a view of a channels-last map
        query, key, value = (
            layer(positions).unflatten(2, (-1, self.head)).transpose(1, 2)
            for layer in (self.to_q, self.to_k, self.to_v)
        )
        y = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return self.drop(self.to_out(y).transpose(1, 2).unflatten(2, x.shape[2:]))

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.branch(x)


class Downsample(nn.Module):
    """A 3x3 convolution of stride 2. (N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2)); takes no embedding."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv3x3(channels, channels, 2)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Every pixel four times, and a 3x3 convolution. (N, C, H, W) -> (N, C, 2 H, 2 W); takes no embedding."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = conv3x3(channels, channels)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.conv(doubled(x))


@dataclass(frozen=True)
class Form:
    """The parts in which the papers differ. `down` and `up` change the size of maps, given their channels and what
    builds the units of the network."""

    conditioning: Conditioning
    down: Callable[[int, Callable[..., Unit]], nn.Module]
    up: Callable[[int, Callable[..., Unit]], nn.Module]


DDPM = Form(Conditioning(1, shifted), lambda width, unit: Downsample(width), lambda width, unit: Upsample(width))
ADM = Form(
    Conditioning(2, scaled_and_shifted),
    lambda width, unit: unit(width, width, resize=halved),
    lambda width, unit: unit(width, width, resize=doubled),
)


class DownLevel(nn.Module):
    """Units, each followed by its attention or `nn.Identity`, and what halves the map, if anything."""

    def __init__(self, units: Iterable[nn.Module], attentions: Iterable[nn.Module], last: Iterable[nn.Module]) -> None:
        super().__init__()
        self.resnets, self.attentions = nn.ModuleList(units), nn.ModuleList(attentions)
        self.downsamplers = nn.ModuleList(last)

    def forward(self, x: Tensor, embedding: Tensor) -> list[Tensor]:
        """The map after every part, in order."""
        maps = []
        for unit, attention in zip(self.resnets, self.attentions, strict=True):
            x = attention(unit(x, embedding))
            maps.append(x)
        return maps + [down(x, embedding) for down in self.downsamplers]


class MiddleLevel(nn.Module):
    """A unit, attention and a unit."""

    def __init__(self, units: Iterable[nn.Module], attention: nn.Module) -> None:
        super().__init__()
        self.resnets, self.attentions = nn.ModuleList(units), nn.ModuleList([attention])

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        first, second = self.resnets
        return second(self.attentions[0](first(x, embedding)), embedding)


class UpLevel(nn.Module):
    """As `DownLevel`; every unit also takes a map of the contracting path, and the level ends by doubling the map."""

    def __init__(self, units: Iterable[nn.Module], attentions: Iterable[nn.Module], last: Iterable[nn.Module]) -> None:
        super().__init__()
        self.resnets, self.attentions = nn.ModuleList(units), nn.ModuleList(attentions)
        self.upsamplers = nn.ModuleList(last)

    def forward(self, x: Tensor, embedding: Tensor, maps: list[Tensor]) -> Tensor:
        """Takes the last of `maps` away, one for each unit."""
        for unit, attention in zip(self.resnets, self.attentions, strict=True):
            other = maps.pop()
            x = attention(unit(torch.cat([cropped(x, other.shape[2:]), other], 1), embedding))
        for up in self.upsamplers:
            x = up(x, embedding)
        return x


def folded(x: Tensor, side: int) -> Tensor:
    """(N, C, H, W) -> (N, side^2 C, ceil(H / side), ceil(W / side)): squares of pixels as channels, the last row and
    column repeated where a side is not divisible."""
    right, bottom = -x.shape[3] % side, -x.shape[2] % side
    if right or bottom:
        x = F.pad(x, (0, right, 0, bottom), mode="replicate")
    return x if side == 1 else F.pixel_unshuffle(x, side)


def unfolded(x: Tensor, side: int, size: Sequence[int]) -> Tensor:
    """(N, side^2 C, h, w) -> (N, C, *size): the inverse of `folded`."""
    return cropped(x if side == 1 else F.pixel_shuffle(x, side), size)


def in_format_of(weight: Tensor, x: Tensor) -> Tensor:
    """`x`, contiguous if `weight` is: kernels follow the images' memory format otherwise."""
    return x.contiguous() if weight.is_contiguous() else x


# What depends on a tensor's shape, device or format, torch.fx records as one operation
fx.wrap("sinusoids")
fx.wrap("cropped")
fx.wrap("folded")
fx.wrap("in_format_of")

# ---------------------------------------------------------------------------------------------------------------------
# Net


class VelocityUNet(Network):
    """A U-Net with levels of `widths` channels, each of half the resolution of the one before.

    A level has `units` residual units on the way down and one more on the way up; the levels numbered in `attention`
    (from 0), and the middle, have attention with `head` channels a head. `channels` is the number of image channels,
    `fold` the side in pixels of the squares that become channels.

    - `classes`: the number of classes K; the label K is the null class, of images whose class is not given. With 0
      there is no class embedding.
    - `channels`, `strides`: of the levels' maps. `smallest`: the smallest side of an image in pixels, which leaves one
      pixel in the last map.
    - `first`: the first convolution. `heads` and `stages` are empty: `save_memory` recomputes every unit.
    - `features` and `classify` do not apply, and raise: the maps also depend on time and class.
    - `contiguous_on_cpu`: on a processor a training step in bfloat16 takes 1.1 to 1.4 times as long in channels-last
      memory, because group norm is slow there.
    """

    contiguous_on_cpu = True

    def __init__(
        self,
        form: Form,
        widths: Sequence[int],
        units: int,
        attention: Sequence[int],
        head: int,
        classes: int,
        channels: int,
        dropout: float = 0.0,
        fold: int = 1,
    ) -> None:
        super().__init__()
        self.classes, self.image_channels, self.fold = classes, channels, fold
        self.channels, self.strides = list(widths), [fold * 2**level for level in range(len(widths))]
        self.smallest, self.first, self.heads, self.stages = self.strides[-1], "conv_in", (), ()
        embedded, groups = 4 * widths[0], min(32, min(widths) // 4)
        unit = partial(Unit, conditioning=form.conditioning, embedded=embedded, groups=groups, dropout=dropout)

        def attended(level: int, number: int) -> list[nn.Module]:
            """What follows `number` units of a level."""
            there = level in attention
            return [Attention(widths[level], groups, head) if there else nn.Identity() for _ in range(number)]

        self.conv_in = conv3x3(fold**2 * channels, widths[0])
        self.time_embedding = TimeEmbedding(widths[0], embedded)
        self.class_embedding = nn.Embedding(classes + 1, embedded) if classes else None
        self.down_blocks = nn.ModuleList()
        known, c = [widths[0]], widths[0]  # channels of the maps for the way up, and of the current one
        last = len(widths) - 1
        for level, width in enumerate(widths):
            row = [unit(c if i == 0 else width, width) for i in range(units)]
            down = [form.down(width, unit)] if level < last else []
            self.down_blocks.append(DownLevel(row, attended(level, units), down))
            known += [width] * (units + len(down))
            c = width
        self.mid_block = MiddleLevel([unit(c, c), unit(c, c)], Attention(c, groups, head))
        self.up_blocks = nn.ModuleList()
        for level in range(last, -1, -1):
            width = widths[level]
            row = [unit((c if i == 0 else width) + known.pop(), width) for i in range(units + 1)]
            up = [form.up(width, unit)] if level > 0 else []
            self.up_blocks.append(UpLevel(row, attended(level, units + 1), up))
            c = width
        self.conv_norm_out = nn.GroupNorm(groups, widths[0])
        self.conv_out = zeroed(conv3x3(widths[0], fold**2 * channels))

    def embedding(self, t: Tensor, y: Tensor | None, dtype: torch.dtype) -> Tensor:
        """Times (N,) and labels (N,) -> (N, 4 widths[0]), or (N, ...) with the null class without labels."""
        e = self.time_embedding(sinusoids(1000 * t, self.channels[0]).to(dtype))
        if self.class_embedding is not None:
            e = e + (self.class_embedding.weight[self.classes] if y is None else self.class_embedding(y))
        return F.silu(e)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        """Noisy images (N, C, H, W), times (N,) in [0, 1] and labels int64 (N,), or None for the null class -> the
        velocity (N, C, H, W), in the type of `x`. Without classes `y` is not used.

        Raises SkipwayError for another number of channels, or images smaller than `smallest`.
        """
        self.require_images(x)
        x = in_format_of(self.conv_out.weight, x)
        embedding = self.embedding(t, y, x.dtype)
        maps = [self.conv_in(folded(x, self.fold))]
        for level in self.down_blocks:
            maps += level(maps[-1], embedding)
        z = self.mid_block(maps[-1], embedding)
        for level in self.up_blocks:
            z = level(z, embedding, maps)
        v = self.conv_out(F.silu(self.conv_norm_out(z)))
        return unfolded(v, self.fold, x.shape[2:]).to(x.dtype)

    def require_images(self, x: Tensor) -> None:
        """Raises SkipwayError if `x` is not (N, C, H, W), or too small."""
        if is_recorded(x):
            return
        if x.dim() != 4 or x.shape[1] != self.image_channels:
            raise SkipwayError(
                f"images of shape {tuple(x.shape)} do not fit this network: it expects (N, {self.image_channels}, H, W)"
            )
        side = min(x.shape[2:])
        if side < self.smallest:
            raise SkipwayError(
                f"images of {side} pixels are too small for this network: the smallest is {self.smallest}"
            )

    def save_memory(self) -> bool:
        """Recompute the activations of every unit in the backward pass."""
        for module in self.modules():
            if isinstance(module, Unit):
                module.recomputed = True
        return True

    def __prepare_scriptable__(self) -> fx.GraphModule:
        raise SkipwayError(
            "torch.jit.script does not compile this network: use torch.jit.trace, torch.export or torch.fx"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Table: named for the side in pixels of the images that they are meant for; any other size is possible

Build = Callable[..., VelocityUNet]  # takes classes, channels and dropout
GENERATORS: dict[str, Build] = {
    "unet8": partial(VelocityUNet, ADM, (32, 32), 1, (), 32),
    "unet28": partial(VelocityUNet, ADM, (64, 64), 1, (1,), 64, fold=2),
    "unet32": partial(VelocityUNet, ADM, (64, 128, 128, 128), 2, (1,), 64),
    "unet32_base": partial(VelocityUNet, ADM, (128, 256, 256, 256), 2, (1,), 64),
    "unet64": partial(VelocityUNet, ADM, (64, 128, 256, 256), 2, (2, 3), 64),
}
