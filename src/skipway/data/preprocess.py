"""Image preprocessing with torch, for training, evaluation, prediction and serving; `fitting` has the record."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from skipway.data import fitting
from skipway.data.dataset import Item
from skipway.data.decode import Decoded, decode, decode_reduced
from skipway.data.fitting import Fitting
from skipway.data.fitting import Placement as Placement
from skipway.data.resize import center_crop, resize


def crop_extreme_aspect(image: Tensor) -> Tensor:
    """`image` (C, H, W), its longer side centre-cropped where it is extremely long: see `fitting`."""
    cropped: Tensor = fitting.crop_extreme_aspect(image, center_crop)
    return cropped


class FittedImage(NamedTuple):
    """The network's input, uint8 (C, H, W), and the size of the image that it was made of, height and width."""

    image: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class Preprocessing(Fitting):
    """The fields are `Fitting`'s."""

    def resized(self, image: Tensor, height: int, width: int) -> Tensor:
        return resize(image, height, width, self.filter, self.antialias)

    def cropped(self, image: Tensor, height: int, width: int) -> Tensor:
        return center_crop(image, height, width)

    def blank(self) -> Tensor:
        """An input of the mean colour, uint8 (C, *canvas)."""
        return (torch.tensor(self.mean) * 255).round().to(torch.uint8).view(-1, 1, 1).repeat(1, *self.canvas)

    def decoded(self, item: Item, name: str) -> Tensor:
        """The item as uint8 (C, H, W) at its original size. Raises DataError naming the image."""
        return decode(item, self.channels, name, self.background)

    def reduced(self, item: Item, name: str) -> Decoded:
        """The item as uint8 (C, H, W) at the scale that `jpeg_oversampling` gives, with its original size."""
        return decode_reduced(item, self.channels, name, self.background, self.least)

    def open(self, item: Item, name: str) -> Tensor:
        """The item as uint8 (C, *canvas). Raises DataError naming the image."""
        return self.opened(item, name).image

    def opened(self, item: Item, name: str) -> FittedImage:
        """As `open`, with the image's own size."""
        decoded = self.reduced(item, name)
        return FittedImage(self.fitted(decoded.image), decoded.size)

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
