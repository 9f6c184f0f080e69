"""What is done to an image before a network sees it: one record, one implementation, for evaluation and every use.

It travels in the bundle's card, so that nobody has to guess mean, size or filter (docs/design.md, section 3).
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from skipway.data.decode import WHITE, Colour, decode
from skipway.data.source import Item

LONGEST = 16  # times the shorter side; of what is longer, the centre alone is resized for a crop
FILTERS = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


def centre_of(image: Tensor) -> Tensor:
    """`image` (C, H, W), its longer side cut to the middle LONGEST times the shorter when it is longer than that.

    Resized as it is, a picture of 1 x 20,000 pixels would fill gigabytes of which the crop leaves a corner. What is
    left is about the same centre, to the pixel.
    """
    height, width = image.shape[1:]
    most = LONGEST * min(height, width)
    if max(height, width) <= most:
        return image
    most += (max(height, width) - most) % 2
    return tv.center_crop(image, [min(height, most), min(width, most)])


@dataclass(frozen=True)
class Preprocessing:
    """Channels, size in pixels, fit, filter, normalisation, and the colour that shows through transparent pixels.

    `fit`: "crop" resizes the shorter side to `resize` and crops the centre; "squash" ignores the aspect ratio; "pad"
    keeps the whole picture, in the middle of the mean colour. `mean` and `std` are per channel, for values in [0, 1];
    `background` is red, green and blue from 0 to 255.
    """

    channels: int
    size: int
    resize: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: Literal["crop", "squash", "pad"] = "crop"
    filter: Literal["bilinear", "bicubic"] = "bilinear"
    antialias: bool = True
    orientation: Literal["exif"] = "exif"
    background: Colour = WHITE

    def at(self, size: int) -> "Preprocessing":
        """The same for `size` pixels a side, the margin in proportion."""
        return replace(self, size=size, resize=round(self.resize * size / self.size))

    def resized(self, image: Tensor, height: int, width: int) -> Tensor:
        if image.shape[1:] == (height, width):
            return image
        return tv.resize(image, [height, width], FILTERS[self.filter], antialias=self.antialias)

    def fitted(self, image: Tensor) -> Tensor:
        """uint8 (C, H, W) of any size -> uint8 (C, size, size)."""
        height, width = image.shape[1:]
        if self.fit == "squash":
            return self.resized(image, self.size, self.size)
        if self.fit == "crop":
            image = centre_of(image)
            height, width = image.shape[1:]
            shorter = min(height, width)  # rounded down, as torchvision does
            image = self.resized(image, int(self.resize * height / shorter), int(self.resize * width / shorter))
            return tv.center_crop(image, [self.size, self.size])
        scale = self.size / max(height, width)
        image = self.resized(image, max(1, round(height * scale)), max(1, round(width * scale)))
        down, across = self.size - image.shape[1], self.size - image.shape[2]
        canvas = (torch.tensor(self.mean) * 255).round().to(torch.uint8).view(-1, 1, 1).repeat(1, self.size, self.size)
        top, left = down // 2, across // 2
        canvas[:, top : top + image.shape[1], left : left + image.shape[2]] = image
        return canvas

    def decoded(self, item: Item, name: str) -> Tensor:
        """The item as uint8 (C, H, W) of its own size. Raises DataError naming the image."""
        return decode(item, self.channels, name, self.background)

    def open(self, item: Item, name: str) -> Tensor:
        """The item as uint8 (C, size, size). Raises DataError naming the image."""
        return self.fitted(self.decoded(item, name))

    def normalised(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> float32 of zero mean and unit deviation, on the same device."""
        mean = torch.tensor(self.mean, device=images.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, -1, 1, 1)
        return images.float().sub_(mean * 255).div_(std * 255)


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def for_photographs(size: int) -> Preprocessing:
    """The field's evaluation crop: shorter side to 256/224 of `size`, ImageNet's mean and deviation."""
    return Preprocessing(3, size, round(size * 256 / 224), IMAGENET_MEAN, IMAGENET_STD)


def for_pixels(images: Tensor) -> Preprocessing:
    """For small images uint8 (N, C, H, W): taken whole, normalised by their own mean and deviation per channel."""
    channels, size = images.shape[1], images.shape[2]
    mean, std = [], []
    for channel in range(channels):  # one at a time: the whole set in floating point would be four times its size
        values = images[:, channel].float()
        mean.append(round(values.mean().item() / 255, 4))
        std.append(round(max(values.std().item(), 1.0) / 255, 4))
    return Preprocessing(channels, size, size, tuple(mean), tuple(std))
