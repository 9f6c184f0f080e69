"""Resizing and centre crops against torchvision's, bit for bit."""

import subprocess
import sys

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from skipway.data import resize as resizing
from skipway.data.resize import center_crop, resize

MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


def picture(height: int, width: int, channels: int = 3, channels_last: bool = True) -> torch.Tensor:
    drawn = torch.randint(256, (height, width, channels), dtype=torch.uint8).permute(2, 0, 1)
    return drawn if channels_last else drawn.contiguous()


@pytest.mark.parametrize("kind", ["bytes", "bytes without vector instructions", "floats"])
@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("to", [(17, 31), (96, 80), (41, 7), (2, 3)])
@pytest.mark.parametrize("channels_last", [True, False])
def test_resized_images_are_torchvisions(
    kind: str, antialias: bool, mode: str, to: tuple[int, int], channels_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "without" in kind:
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
        monkeypatch.setattr("platform.machine", lambda: "x86_64")
    image = picture(41, 63, 3, channels_last)
    image = image.float() / 255 if kind == "floats" else image
    found = resize(image, *to, mode, antialias)
    assert torch.equal(found, tv.resize(image, list(to), MODES[mode], antialias=antialias))
    assert found.dtype == image.dtype


def test_the_way_through_floats_is_another_one() -> None:
    """Otherwise the test above would compare a kernel with itself."""
    image = picture(41, 63)
    if not resizing.resizes_bytes("bilinear", image.device):
        pytest.skip("torch resizes bytes in floats on this processor")
    assert not torch.equal(resize(image, 17, 31), resize(image.float(), 17, 31).round().to(torch.uint8))


def test_the_memory_format_stays() -> None:
    assert resize(picture(41, 63), 20, 30).permute(1, 2, 0).is_contiguous()
    assert resize(picture(41, 63, channels_last=False), 20, 30).is_contiguous()


@pytest.mark.parametrize("size", [(20, 30), (21, 29), (41, 63), (50, 63), (50, 70), (51, 31), (1, 70)])
def test_centre_crops_are_torchvisions(size: tuple[int, int]) -> None:
    image = picture(41, 63)
    assert torch.equal(center_crop(image, *size), tv.center_crop(image, list(size)))


def test_a_prediction_does_not_import_torchvision() -> None:
    """It would take as long as importing torch."""
    code = (
        "import sys\n"
        "import skipway.commands.predict, skipway.data.preprocess, skipway.data.augment, skipway.tasks.classify.task\n"
        "heavy = ('torchvision', 'torch._dynamo', 'scipy', 'sklearn', 'pandas')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
