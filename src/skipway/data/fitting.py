"""How an image becomes a network's input: the record of it, and its geometry, for tensors and arrays alike.

It is stored in the bundle's card, so that nobody has to guess mean, size or filter (docs/design.md, section 3).
`Preprocessing` computes with torch, the runtime of exports with NumPy; both take their sizes and places from here.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self

from skipway.data.decode import WHITE, Colour

Filter = Literal["bilinear", "bicubic"]
MAX_ASPECT = 16  # longer over shorter side; of longer images only the centre is resized for a crop


def crop_extreme_aspect(image: Any, center_crop: Callable[[Any, int, int], Any]) -> Any:
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


@dataclass(frozen=True)
class Fitting(ABC):
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

    @property
    def least(self) -> int:
        """Pixels that the shorter side of a JPEG keeps at least when its codec reduces it; 0: it is decoded in full."""
        return round(self.jpeg_oversampling * max(self.resize, *self.canvas))

    def at(self, size: int) -> Self:
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

    @abstractmethod
    def resized(self, image: Any, height: int, width: int) -> Any:
        """uint8 (C, H, W) -> uint8 (C, height, width), by `filter`."""

    @abstractmethod
    def cropped(self, image: Any, height: int, width: int) -> Any:
        """The central (C, height, width) of an image (C, H, W), which is padded with 0 where it is smaller."""

    @abstractmethod
    def blank(self) -> Any:
        """An input of the mean colour, uint8 (C, *canvas)."""

    @abstractmethod
    def opened(self, item: Any, name: str) -> Any:
        """An item, as `decode` takes it, as uint8 (C, *canvas) with the image's own size: (image, size). Raises
        DataError naming the image."""

    def fitted(self, image: Any) -> Any:
        """uint8 (C, H, W) of any size -> uint8 (C, *canvas)."""
        height, width = image.shape[1:]
        rows, columns = self.canvas
        if self.fit == "squash":
            return self.resized(image, rows, columns)
        if self.fit == "crop":
            image = crop_extreme_aspect(image, self.cropped)
            height, width = image.shape[1:]
            shorter = min(height, width)  # rounded down, as torchvision does
            image = self.resized(image, int(self.resize * height / shorter), int(self.resize * width / shorter))
            return self.cropped(image, rows, columns)
        place = self.placement(height, width)
        canvas = self.blank()
        inside = self.resized(image, place.height, place.width)
        canvas[:, place.top : place.top + place.height, place.left : place.left + place.width] = inside
        return canvas
