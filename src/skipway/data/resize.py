"""Resizing and centre crops of single images, with the results of torchvision's transforms, bit for bit.

torchvision is not imported: that takes as long as importing torch, and a prediction needs nothing else of it.
"""

import platform

import torch
import torch.nn.functional as F
from torch import Tensor

from skipway.data.fitting import Filter

ARM = ("aarch64", "arm64")


def resizes_bytes(mode: Filter, device: torch.device) -> bool:
    """Whether torch resizes uint8 itself there, and fast; otherwise in float32, rounded.

    Its bilinear kernel for bytes is slow without vector instructions. The two ways differ in the last bit.
    """
    if device.type != "cpu":
        return False
    vectors = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512") or platform.machine() in ARM
    return mode == "bicubic" or vectors


def resize(image: Tensor, height: int, width: int, mode: Filter = "bilinear", antialias: bool = True) -> Tensor:
    """uint8 or float32 (C, H, W) -> the same type, (C, height, width), in the memory format of `image`.

    Equal to `torchvision.transforms.v2.functional.resize` of an image that is not empty.
    """
    if image.shape[1:] == (height, width):
        return image
    # As a batch of one whose strides say channels-last where the image's do: torch keeps the format only then.
    batch = image[None] if image.is_contiguous() else image.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
    in_floats = image.dtype == torch.uint8 and not resizes_bytes(mode, image.device)
    if in_floats:
        batch = batch.float()
    batch = F.interpolate(batch, (height, width), mode=mode, align_corners=False, antialias=antialias)
    if in_floats:
        batch = batch.clamp_(0, 255).round_().to(torch.uint8)
    return batch[0]


def center_crop(image: Tensor, height: int, width: int) -> Tensor:
    """The central (C, height, width) of `image` (C, H, W), which is padded with 0 where it is smaller.

    Equal to `torchvision.transforms.v2.functional.center_crop`: an odd margin is halved to the even number.
    """
    rows, columns = max(height - image.shape[1], 0), max(width - image.shape[2], 0)
    if rows or columns:
        image = F.pad(image, (columns // 2, (columns + 1) // 2, rows // 2, (rows + 1) // 2))
    top, left = round((image.shape[1] - height) / 2), round((image.shape[2] - width) / 2)
    return image[:, top : top + height, left : left + width]
