"""U-Net against the sums of its parts, and against the same network written as functions of its tensors."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from twins import parameters, shaken

from skipway.hardware import ShapesOnly
from skipway.models import create_segmenter
from skipway.models.analysis.trace import layers
from skipway.models.segmentation.unet import enlarged


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("unet_resnet18", 14_329_659), ("unet_resnet34", 24_437_819), ("unet_resnet50", 32_522_555)],
)
def test_parameters_are_those_of_the_common_layout(name: str, wanted: int) -> None:
    with ShapesOnly():
        assert parameters(create_segmenter(name, 11)) == wanted


def test_the_light_decoder_needs_three_fifths_of_the_multiply_adds() -> None:
    costs = {}
    for name in ("unet_resnet18", "unet_resnet18_light"):
        with ShapesOnly():
            net = create_segmenter(name, 11)
        costs[name] = sum(layer.multiply_adds for layer in layers(net, (3, 384, 480)))
    assert costs["unet_resnet18"] == pytest.approx(15.4e9, rel=0.01)
    assert costs["unet_resnet18_light"] == pytest.approx(0.6 * costs["unet_resnet18"], rel=0.02)


class Reference:
    """A U-Net on a network of basic units, as functions of the tensors of a state dict, in evaluation."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.weights = weights

    def norm(self, key: str, x: Tensor) -> Tensor:
        mean, variance, scale, shift = (
            self.weights[f"{key}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (variance + 1e-5) ** 0.5 * scale + shift

    def conv(self, key: str, x: Tensor, stride: int = 1) -> Tensor:
        kernel = self.weights[f"{key}.weight"]
        return F.conv2d(x, kernel, self.weights.get(f"{key}.bias"), stride, padding=kernel.shape[-1] // 2)

    def unit(self, key: str, x: Tensor, stride: int) -> Tensor:
        y = self.norm(f"{key}.bn1", self.conv(f"{key}.conv1", x, stride)).clamp(min=0)
        y = self.norm(f"{key}.bn2", self.conv(f"{key}.conv2", y))
        if f"{key}.downsample.0.weight" in self.weights:
            x = self.norm(f"{key}.downsample.1", self.conv(f"{key}.downsample.0", x, stride))
        return (x + y).clamp(min=0)

    def maps(self, x: Tensor) -> list[Tensor]:
        x = self.norm("backbone.bn1", self.conv("backbone.conv1", x, 2)).clamp(min=0)
        maps = [x]
        x = F.max_pool2d(x, 3, 2, 1)
        for stage in range(1, 5):
            for unit in range(2):
                x = self.unit(f"backbone.layer{stage}.{unit}", x, 2 if stage > 1 and unit == 0 else 1)
            maps.append(x)
        return maps

    def double(self, x: Tensor, size: torch.Size) -> Tensor:
        """Row i of the larger map is row i // 2 of the smaller."""
        return x[:, :, torch.arange(size[0]) // 2][:, :, :, torch.arange(size[1]) // 2]

    def scores(self, image: Tensor, blocks: int) -> Tensor:
        *skips, x = self.maps(image)
        for block in range(blocks):
            if skips:
                skip = skips.pop()
                x = torch.cat([self.double(x, skip.shape[2:]), skip], 1)
            else:
                x = self.double(x, image.shape[2:])
            for i in range(2):
                key = f"decoder.{block}.{i}"
                x = self.norm(f"{key}.1", self.conv(f"{key}.0", x)).clamp(min=0)
        x = self.conv("classifier", x)
        if x.shape[2:] == image.shape[2:]:
            return x
        return F.interpolate(x, image.shape[2:], mode="bilinear", align_corners=False)


@pytest.mark.parametrize("size", [(64, 96), (33, 47), (97, 131)], ids=str)
@pytest.mark.parametrize(("name", "blocks"), [("unet_resnet18", 5), ("unet_resnet18_light", 4)])
def test_scores_are_those_of_the_functions(name: str, blocks: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = shaken(create_segmenter(name, 5)).eval()
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        wanted = Reference(net.state_dict()).scores(x, blocks)
        torch.testing.assert_close(net(x), wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize("size", range(1, 40))
def test_every_row_of_an_enlarged_map_is_that_of_half_its_number(size: int) -> None:
    rows = torch.arange(-(-size // 2), dtype=torch.float32).reshape(1, 1, -1, 1)
    assert torch.equal(enlarged(rows, (size, 1)).flatten(), (torch.arange(size) // 2).float())


def test_shapes_are_learned_by_heart() -> None:
    """Two drawn images, whose classes are told by position and not by colour alone."""
    torch.manual_seed(0)
    target = torch.zeros(2, 48, 64, dtype=torch.long)
    target[0, 10:30, 20:50], target[1, 5:40, 8:20], target[1, 20:33, 35:60] = 1, 2, 1
    x = torch.randn(2, 3, 48, 64) * 0.3 + F.one_hot(target, 3).movedim(-1, 1)
    net = create_segmenter("unet_resnet18d_x0_5_light", 3).train()
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(60):
        scores = net(x)
        if float((scores.argmax(1) == target).float().mean()) > 0.99:
            break
        optimiser.zero_grad()
        F.cross_entropy(scores, target).backward()
        optimiser.step()
    assert float((scores.argmax(1) == target).float().mean()) > 0.99
