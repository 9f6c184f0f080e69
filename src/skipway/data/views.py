"""Several views of an image, whose predictions are averaged: mirrored, and ten crops.

Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks. NeurIPS 2012.
Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition. ICLR 2015, arXiv:1409.1556.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from skipway.data.preprocess import Preprocessing
from skipway.errors import SkipwayError


@dataclass(frozen=True)
class Views:
    """opened: how an image is fitted before its views are cut; cut: uint8 (n, C, *opened.canvas) -> inputs of the
    network, each (n, C, *canvas)."""

    opened: Preprocessing
    cut: Callable[[Tensor], list[Tensor]]


def flip(preprocessing: Preprocessing) -> Views:
    """The fitted image and its mirror image (Simonyan 2015, sec. 3.2)."""
    return Views(preprocessing, lambda images: [images, images.flip(-1)])


def ten_crop(preprocessing: Preprocessing) -> Views:
    """Four corners and the centre of the image fitted to `resize` pixels, and the same of its mirror image (Krizhevsky
    2012, sec. 4.1).

    Raises SkipwayError where `resize` leaves no margin, and all crops would be the same.
    """
    size, resize = preprocessing.size, preprocessing.resize
    if resize <= size:
        raise SkipwayError(
            f"ten crops need a margin, but images are resized to {resize} pixels and cropped to {size}: "
            "use the protocol flip, or a bundle with a larger resize"
        )
    return Views(replace(preprocessing, size=resize), lambda images: cut_ten(images, size))


def cut_ten(images: Tensor, size: int) -> list[Tensor]:
    """Ten crops (n, C, size, size) of images (n, C, H, W), in the order of torchvision's `ten_crop`."""
    return [*cut_five(images, size), *cut_five(images.flip(-1), size)]


def cut_five(images: Tensor, size: int) -> list[Tensor]:
    """The crops at the corners and in the centre."""
    below, right = images.shape[-2] - size, images.shape[-1] - size
    corners = [(0, 0), (0, right), (below, 0), (below, right), (round(below / 2), round(right / 2))]
    return [images[..., top : top + size, left : left + size] for top, left in corners]
