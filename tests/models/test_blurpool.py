"""Blur pooling: the filter against NumPy, the counts, and what it is for."""

import numpy as np
import torch
from torch import nn

from skipway.models import build
from skipway.models.blurpool import BlurPool


def test_the_filter_is_the_binomial_one_in_numpy() -> None:
    x = torch.randn(1, 2, 6, 8)
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 2), (1, 2)), mode="reflect")
    row = np.array([1, 3, 3, 1]) / 8
    expected = np.zeros((1, 2, 3, 4))
    for i in range(3):
        for j in range(4):
            window = padded[:, :, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
            expected[:, :, i, j] = np.einsum("nchw,h,w->nc", window, row, row)
    np.testing.assert_allclose(BlurPool(2)(x).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_blurs_learn_nothing_and_change_no_parameter() -> None:
    for name in ("resnet18", "resnet50"):
        plain, blurred = build(name, classes=5), build(f"{name}_blur", classes=5)
        shapes = [sorted(tuple(p.shape) for p in net.parameters()) for net in (plain, blurred)]
        assert shapes[0] == shapes[1]


def test_no_unit_steps_without_a_blur_before() -> None:
    for name in ("resnet34_blur", "resnet101_blur"):
        with torch.device("meta"):
            net = build(name)
        steps = [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d) and m.stride != (1, 1)]
        assert steps == ["conv1"], "only the first convolution keeps its stride, as in the author's code"
        maps = net.eval().features(torch.empty(1, 3, 64, 64, device="meta"))
        assert [m.shape[2] for m in maps] == [16, 8, 4, 2]


def test_scores_move_less_when_the_image_moves_by_a_pixel() -> None:
    torch.manual_seed(0)
    plain, blurred = build("resnet18", classes=8).eval(), build("resnet18_blur", classes=8).eval()
    for target, source in zip(blurred.parameters(), plain.parameters(), strict=True):
        target.data.copy_(source)
    x = torch.randn(4, 3, 96, 97)

    def change(net: nn.Module) -> float:
        with torch.no_grad():
            here, there = net(x[..., :-1]), net(x[..., 1:])
        return ((here - there).norm() / here.norm()).item()

    assert change(blurred) < 0.8 * change(plain)
