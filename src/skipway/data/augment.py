"""Data augmentation: small images in batches on the device, large images one at a time in the workers.

Small images are augmented as in the CIFAR literature: a random crop of the padded image and a flip (He 2015,
sec. 4.2), drawn per image, and cutout (DeVries 2017, arXiv:1708.04552).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from skipway.data.preprocess import Preprocessing, crop_extreme_aspect

Crop = Literal["none", "pad", "resized", "scale"]
MAX_SQUARE = 4  # times the size: the side of an image that is made square before cropping

# Principal components of ImageNet's colours, for values in [0, 1] (Krizhevsky 2012, sec. 4.1).
COLOUR_VALUES = (0.2175, 0.0188, 0.0045)
COLOUR_VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


@dataclass(frozen=True)
class Augmentation:
    """`crop`: "pad" pads by `pad` pixels and crops to the size; "resized" is Inception's random area and aspect ratio;
    "scale" crops the image resized to a random shorter side (256 to 480 for a size of 224: He 2015, sec. 3.4).
    `cutout` is the side in pixels of a square set to the mean; `colour` shifts colours along ImageNet's principal
    components. In the first `small_epochs` epochs the crops are `small` pixels wide, since early training needs fewer
    pixels (progressive resizing: Howard 2018, DAWNBench; Tan 2021, arXiv:2104.00298, sec. 4).
    """

    crop: Crop = "none"
    pad: int = 4
    flip: bool = False
    cutout: int = 0
    colour: bool = False
    small: int = 0
    small_epochs: int = 0

    def side(self, size: int, epoch: int) -> int:
        """Side in pixels of the crops in `epoch`, counted from 0, when the full side is `size`."""
        return self.small if epoch < self.small_epochs else size


def pad_images(images: Tensor, pad: int) -> Tensor:
    """uint8 (N, C, H, W) -> (N, H + 2 pad, W + 2 pad, C), padded by reflection, in the layout of `crop_and_flip`."""
    if pad:
        images = F.pad(images, (pad, pad, pad, pad), mode="reflect")
    return images.permute(0, 2, 3, 1).contiguous()


def crop_and_flip(images: Tensor, indices: Tensor, size: int, flip: bool) -> Tensor:
    """Random `size` x `size` crops of `images[indices]`, drawn per image, flipped with probability 0.5 if `flip`.

    images: uint8 (N, H, W, C); indices: (B,). Returns (B, C, size, size) in channels-last memory. A single gather of
    pixels selects images, crops and flips.
    """
    device, batch = images.device, len(indices)
    height, width, channels = images.shape[1:]
    offsets = torch.arange(size, device=device)
    top = torch.randint(height - size + 1, (batch, 1), device=device)
    left = torch.randint(width - size + 1, (batch, 1), device=device)
    flipped = (
        torch.rand(batch, 1, device=device) < 0.5 if flip else torch.zeros(batch, 1, dtype=torch.bool, device=device)
    )
    rows = top + offsets
    columns = left + torch.where(flipped, size - 1 - offsets, offsets)
    pixels = (indices.view(-1, 1, 1) * height + rows[:, :, None]) * width + columns[:, None, :]
    window = images.view(-1, channels).index_select(0, pixels.view(-1))
    return window.view(batch, size, size, channels).permute(0, 3, 1, 2)


def cut_out(images: Tensor, side: int) -> Tensor:
    """Set a square of `side` pixels at a random centre of normalised images (B, C, H, W) to 0, the mean, in place."""
    batch, _, height, width = images.shape
    rows = torch.arange(height, device=images.device).view(1, 1, height, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, 1, width)
    top = torch.randint(height, (batch, 1, 1, 1), device=images.device) - side // 2
    left = torch.randint(width, (batch, 1, 1, 1), device=images.device) - side // 2
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return images.masked_fill_(inside, 0)


def shift_colour(images: Tensor) -> Tensor:
    """Shift uint8 (B, 3, H, W) along the colour axes by N(0, 0.1) times their standard deviations, drawn per image."""
    values = torch.tensor(COLOUR_VALUES, device=images.device)
    vectors = torch.tensor(COLOUR_VECTORS, device=images.device)
    shift = (torch.randn(len(images), 3, device=images.device) * 0.1 * values) @ vectors.T
    return (images.float() + 255 * shift.view(-1, 3, 1, 1)).clamp_(0, 255).round_().to(torch.uint8)


def augment_batch(images: Tensor, preprocessing: Preprocessing, augmentation: Augmentation) -> Tensor:
    """Colour shift, normalisation and cutout of a cropped batch, uint8 (B, C, H, W), on the device."""
    if augmentation.colour:
        images = shift_colour(images)
    images = preprocessing.normalised(images)
    return cut_out(images, augmentation.cutout) if augmentation.cutout else images


def augment_image(image: Tensor, preprocessing: Preprocessing, augmentation: Augmentation) -> Tensor:
    """Augment uint8 (C, H, W) of any size to uint8 (C, size, size), using the global random state.

    The crops "none" and "pad" start from the image as fitted in evaluation; "resized" and "scale" crop the full image,
    which the fits "pad" and "squash" make square first (`make_square`), so that aspect ratios match evaluation.
    """
    size = preprocessing.size
    if augmentation.crop in ("resized", "scale"):
        image = make_square(image, preprocessing)
    if augmentation.crop == "resized":
        from torchvision.transforms.v2 import RandomResizedCrop  # here, since it takes as long to import as torch

        top, left, height, width = RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])
        image = preprocessing.resized(image[:, top : top + height, left : left + width], size, size)
    elif augmentation.crop == "scale":
        image = crop_extreme_aspect(image)
        low, high = round(size * 256 / 224), round(size * 480 / 224)
        shorter = int(torch.randint(low, high + 1, ()))
        scale = shorter / min(image.shape[1:])
        height, width = math.ceil(image.shape[1] * scale), math.ceil(image.shape[2] * scale)
        image = random_crop(preprocessing.resized(image, height, width), size)
    elif augmentation.crop == "pad":
        image = random_crop(F.pad(preprocessing.fitted(image), (augmentation.pad,) * 4), size)
    else:
        image = preprocessing.fitted(image)
    if augmentation.flip and torch.rand(()) < 0.5:
        image = image.flip(-1)
    return image


def make_square(image: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The image unchanged for the fit "crop"; otherwise the full image as a square of about its resolution.

    The side is the longer side for "pad", and that of a square of equal area for "squash"; at most MAX_SQUARE times
    the size, so that the smallest crop still has as many pixels as it is resized to.
    """
    if preprocessing.fit == "crop":
        return image
    height, width = image.shape[1:]
    side = max(height, width) if preprocessing.fit == "pad" else round(math.sqrt(height * width))
    return preprocessing.at(min(side, MAX_SQUARE * preprocessing.size)).fitted(image)


def random_crop(image: Tensor, size: int) -> Tensor:
    top = int(torch.randint(image.shape[1] - size + 1, ()))
    left = int(torch.randint(image.shape[2] - size + 1, ()))
    return image[:, top : top + size, left : left + size]
