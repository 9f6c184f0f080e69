"""ResNet-D: what its stem costs, and that its shortcuts see every pixel."""

import pytest
import torch

from skipway.models import build
from skipway.models.resnetd import averaged_projection


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet152"])
def test_only_the_stem_costs_more_parameters(name: str) -> None:
    stem = 9 * (3 * 32 + 32 * 32 + 32 * 64) + 2 * (32 + 32)  # three convolutions, two normalisations between
    with torch.device("meta"):
        counts = [sum(p.numel() for p in build(n).parameters()) for n in (f"{name}d", name)]
    assert counts[0] - counts[1] == stem - 7 * 7 * 3 * 64


@pytest.mark.parametrize("side", [8, 7])
def test_every_pixel_counts_equally_in_a_shortcut_that_halves_the_map(side: int) -> None:
    shortcut = averaged_projection(4, 8, 2).eval()
    x = torch.ones(1, 4, side, side, requires_grad=True)
    shortcut(x).sum().backward()
    seen = x.grad[0, 0]
    assert (seen != 0).all(), "a projection with stride 2 would be blind to three pixels of four"
    even = side // 2 * 2
    torch.testing.assert_close(seen[:even, :even], seen[0, 0].expand(even, even))


def test_a_shortcut_that_keeps_its_shape_is_the_identity() -> None:
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(averaged_projection(4, 4, 1)(x), x)


def test_a_shortcut_that_only_widens_does_not_average() -> None:
    shortcut = averaged_projection(4, 8, 1).eval()
    assert shortcut(torch.randn(1, 4, 6, 6)).shape == (1, 8, 6, 6)


def test_small_images_take_the_small_stem() -> None:
    net = build("resnet18d", classes=3, stem="small").eval()
    assert net.strides == [1, 2, 4, 8]
    assert net(torch.randn(2, 3, 8, 8)).shape == (2, 3)
