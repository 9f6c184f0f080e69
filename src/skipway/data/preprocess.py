"""Image preprocessing: one record and one implementation, for evaluation, prediction and serving.

It is stored in the bundle's card, so that nobody has to guess mean, size or filter (docs/design.md, section 3).
"""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from skipway.data.dataset import Item
from skipway.data.decode import WHITE, Colour, decode

MAX_ASPECT = 16  # longer over shorter side; of longer images only the centre is resized for a crop
FILTERS = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


def crop_extreme_aspect(image: Tensor) -> Tensor:
    """`image` (C, H, W), its longer side centre-cropped to MAX_ASPECT times the shorter side if it is longer.

    Resizing all of a 1 x 20,000 image would take gigabytes, most of which the crop discards. The crop keeps the same
    centre to the pixel.
    """
    height, width = image.shape[1:]
    longest = MAX_ASPECT * min(height, width)
    if max(height, width) <= longest:
        return image
    longest += (max(height, width) - longest) % 2
    return tv.center_crop(image, [min(height, longest), min(width, longest)])


@dataclass(frozen=True)
class Preprocessing:
    """Channels, size in pixels, fit, filter, normalisation, and the colour that shows through transparent pixels.

    `fit`: "crop" resizes the shorter side to `resize` and crops the centre; "squash" ignores the aspect ratio; "pad"
    keeps the entire image and pads it with the mean colour. `mean` and `std` are per channel, for values in [0, 1];
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
        """The same for a side of `size` pixels, with `resize` in proportion."""
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
            image = crop_extreme_aspect(image)
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
        """The item as uint8 (C, H, W) at its original size. Raises DataError naming the image."""
        return decode(item, self.channels, name, self.background)

    def open(self, item: Item, name: str) -> Tensor:
        """The item as uint8 (C, size, size). Raises DataError naming the image."""
        return self.fitted(self.decoded(item, name))

    def normalised(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> float32 with zero mean and unit standard deviation, on the same device."""
        mean = torch.tensor(self.mean, device=images.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=images.device).view(1, -1, 1, 1)
        return images.float().sub_(mean * 255).div_(std * 255)


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def for_photographs(size: int) -> Preprocessing:
    """The standard evaluation crop: shorter side 256/224 of `size`, ImageNet's mean and standard deviation."""
    return Preprocessing(3, size, round(size * 256 / 224), IMAGENET_MEAN, IMAGENET_STD)


def for_pixels(images: Tensor) -> Preprocessing:
    """For small images uint8 (N, C, H, W): not cropped, normalised by their mean and standard deviation per channel."""
    channels, size = images.shape[1], images.shape[2]
    mean, std = [], []
    for channel in range(channels):  # one at a time: in floating point the data set would take four times its memory
        values = images[:, channel].float()
        mean.append(round(values.mean().item() / 255, 4))
        std.append(round(max(values.std().item(), 1.0) / 255, 4))
    return Preprocessing(channels, size, size, tuple(mean), tuple(std))
