"""Squeeze-and-excitation against NumPy and the paper's counts."""

import numpy as np
import pytest
import torch
from torch import nn

from skipway.models import build
from skipway.models.resnet import SHORTCUTS
from skipway.models.senet import SqueezeExcitation, bottleneck


def test_a_channel_is_scaled_by_what_its_mean_says_in_numpy() -> None:
    part = SqueezeExcitation(8, reduction=4)
    x = torch.randn(3, 8, 5, 4)
    mean = x.numpy().mean((2, 3))
    w1, b1 = part.fc1.weight.detach().numpy()[:, :, 0, 0], part.fc1.bias.detach().numpy()
    w2, b2 = part.fc2.weight.detach().numpy()[:, :, 0, 0], part.fc2.bias.detach().numpy()
    hidden = np.maximum(mean @ w1.T + b1, 0)
    factors = 1 / (1 + np.exp(-(hidden @ w2.T + b2)))
    with torch.no_grad():
        np.testing.assert_allclose(part(x).numpy(), x.numpy() * factors[:, :, None, None], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "depths"), [("seresnet50", (3, 4, 6, 3)), ("seresnet101", (3, 4, 23, 3)), ("seresnet152", (3, 8, 36, 3))]
)
def test_the_extra_parameters_are_equation_5s(name: str, depths: tuple[int, ...]) -> None:
    # 2 / r times the sum over stages of units times channels squared (sec. 5.1), and the biases that we have
    channels = [256, 512, 1024, 2048]
    weights = sum(2 * n * c * c // 16 for n, c in zip(depths, channels, strict=True))
    biases = sum(n * (c + c // 16) for n, c in zip(depths, channels, strict=True))
    with torch.device("meta"):
        extra = [sum(p.numel() for p in build(n).parameters()) for n in (name, name.removeprefix("se"))]
    assert extra[0] - extra[1] == weights + biases


def test_the_part_stands_before_the_sum() -> None:
    unit = bottleneck(16, 8, 1, SHORTCUTS["B"]).eval()
    x = torch.randn(2, 16, 4, 4)
    nn.init.zeros_(unit.se.fc2.weight)
    nn.init.constant_(unit.se.fc2.bias, -100.0)  # every factor 0
    with torch.no_grad():
        assert not unit.branch(x).any()
        torch.testing.assert_close(unit(x), unit.skip(x).relu())
