"""Image preprocessing: one record and one implementation, for evaluation, prediction and serving.

It is stored in the bundle's card, so that nobody has to guess mean, size or filter (docs/design.md, section 3).
"""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from skipway.data.dataset import Item
from skipway.data.decode import WHITE, Colour, Decoded, decode, decode_reduced
from skipway.data.resize import Filter, center_crop, resize

MAX_ASPECT = 16  # longer over shorter side; of longer images only the centre is resized for a crop


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
    return center_crop(image, min(height, longest), min(width, longest))


class Placement(NamedTuple):
    """Where an image lies in the network's input: height and width there, and the pixels above it and left of it."""

    height: int
    width: int
    top: int
    left: int


class FittedImage(NamedTuple):
    """The network's input, uint8 (C, H, W), and the size of the image that it was made of, height and width."""

    image: Tensor
    size: tuple[int, int]


@dataclass(frozen=True)
class Preprocessing:
    """Channels, size in pixels, fit, filter, normalisation, and the colour that shows through transparent pixels.

    `size` is the width of the network's input; its `height` is the same where it is 0. `fit`: "crop" resizes the
    shorter side to `resize` and crops the centre; "squash" ignores the aspect ratio; "pad" keeps the entire image and
    pads it with the mean colour. `mean` and `std` are per channel, for values in [0, 1]; `background` is red, green and
    blue from 0 to 255. `jpeg_oversampling`: JPEG images are decoded at the codec's smallest scale, of 1, 1/2, 1/4 and
    1/8, at which the shorter side has at least this many times the pixels that the input needs; 0: in full.
    """

    channels: int
    size: int
    resize: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fit: Literal["crop", "squash", "pad"] = "crop"
    filter: Filter = "bilinear"
    antialias: bool = True
    orientation: Literal["exif"] = "exif"
    background: Colour = WHITE
    height: int = 0
    jpeg_oversampling: float = 0.0

    @property
    def canvas(self) -> tuple[int, int]:
        """Height and width of the network's input in pixels."""
        return self.height or self.size, self.size

    def at(self, size: int) -> "Preprocessing":
        """The same for a width of `size` pixels, with `resize` and `height` in proportion."""
        scale = size / self.size
        return replace(self, size=size, resize=round(self.resize * scale), height=round(self.height * scale))

    def placement(self, height: int, width: int) -> Placement:
        """Where an image of `height` x `width` pixels lies in the input, for the fits that keep all of it."""
        rows, columns = self.canvas
        if self.fit == "squash":
            return Placement(rows, columns, 0, 0)
        scale = min(rows / height, columns / width)
        fitted = max(1, round(height * scale)), max(1, round(width * scale))
        return Placement(*fitted, (rows - fitted[0]) // 2, (columns - fitted[1]) // 2)

    def resized(self, image: Tensor, height: int, width: int) -> Tensor:
        return resize(image, height, width, self.filter, self.antialias)

    def fitted(self, image: Tensor) -> Tensor:
        """uint8 (C, H, W) of any size -> uint8 (C, *canvas)."""
        height, width = image.shape[1:]
        rows, columns = self.canvas
        if self.fit == "squash":
            return self.resized(image, rows, columns)
        if self.fit == "crop":
            image = crop_extreme_aspect(image)
            height, width = image.shape[1:]
            shorter = min(height, width)  # rounded down, as torchvision does
            image = self.resized(image, int(self.resize * height / shorter), int(self.resize * width / shorter))
            return center_crop(image, rows, columns)
        place = self.placement(height, width)
        canvas = self.blank()
        inside = canvas[:, place.top : place.top + place.height, place.left : place.left + place.width]
        inside.copy_(self.resized(image, place.height, place.width))
        return canvas

    def blank(self) -> Tensor:
        """An input of the mean colour, uint8 (C, *canvas)."""
        return (torch.tensor(self.mean) * 255).round().to(torch.uint8).view(-1, 1, 1).repeat(1, *self.canvas)

    def decoded(self, item: Item, name: str) -> Tensor:
        """The item as uint8 (C, H, W) at its original size. Raises DataError naming the image."""
        return decode(item, self.channels, name, self.background)

    def reduced(self, item: Item, name: str) -> Decoded:
        """The item as uint8 (C, H, W) at the scale that `jpeg_oversampling` gives, with its original size."""
        least = round(self.jpeg_oversampling * max(self.resize, *self.canvas))
        return decode_reduced(item, self.channels, name, self.background, least)

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
