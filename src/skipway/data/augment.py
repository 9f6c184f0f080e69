"""What training does to images: whole batches of small ones at once, large ones one by one in the workers.

The small-image forms are those of the CIFAR literature: a random crop of the padded image and a flip (He 2015,
sec. 4.2), each image its own, and cutout (DeVries 2017, arXiv:1708.04552).
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2 import functional as tv

from skipway.data.preprocess import Preprocessing, centre_of

Crop = Literal["none", "pad", "resized", "scale"]
SQUARE = 4

# Principal components of ImageNet's colours, for values in [0, 1] (Krizhevsky 2012, sec. 4.1).
COLOUR_VALUES = (0.2175, 0.0188, 0.0045)
COLOUR_VECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


@dataclass(frozen=True)
class Augmentation:
    """`crop`: "pad" by `pad` pixels and crop the size back; "resized" is Inception's random area and aspect; "scale"
    a crop of the image resized to a random shorter side (256 to 480 for a size of 224: He 2015, sec. 3.4).
    `cutout` is the side in pixels of a square set to the mean; `colour` shifts along ImageNet's colour axes.
    In the first `small_epochs` epochs the crops have `small` pixels a side: fewer pixels while there is much to learn
    from few (progressive resizing: Howard 2018, DAWNBench; Tan 2021, arXiv:2104.00298, sec. 4).
    """

    crop: Crop = "none"
    pad: int = 4
    flip: bool = False
    cutout: int = 0
    colour: bool = False
    small: int = 0
    small_epochs: int = 0

    def side(self, size: int, epoch: int) -> int:
        """Pixels a side of the crops of `epoch`, counted from 0, when the full side is `size`."""
        return self.small if epoch < self.small_epochs else size


def padded(images: Tensor, pad: int) -> Tensor:
    """uint8 (N, C, H, W) -> (N, H + 2 pad, W + 2 pad, C), edges mirrored; laid out for `crop_and_flip`."""
    if pad:
        images = F.pad(images, (pad, pad, pad, pad), mode="reflect")
    return images.permute(0, 2, 3, 1).contiguous()


def crop_and_flip(images: Tensor, picked: Tensor, size: int, flip: bool) -> Tensor:
    """Random `size` x `size` windows of `images[picked]`, each its own, mirrored half the time if `flip`.

    images: uint8 (N, H, W, C); picked: (B,). Returns (B, C, size, size) in channels-last memory. One gather of pixels
    does all three: choosing images, cropping and flipping.
    """
    device, batch = images.device, len(picked)
    height, width, channels = images.shape[1:]
    ahead = torch.arange(size, device=device)
    top = torch.randint(height - size + 1, (batch, 1), device=device)
    left = torch.randint(width - size + 1, (batch, 1), device=device)
    mirrored = (
        torch.rand(batch, 1, device=device) < 0.5 if flip else torch.zeros(batch, 1, dtype=torch.bool, device=device)
    )
    rows = top + ahead
    columns = left + torch.where(mirrored, size - 1 - ahead, ahead)
    pixels = (picked.view(-1, 1, 1) * height + rows[:, :, None]) * width + columns[:, None, :]
    window = images.view(-1, channels).index_select(0, pixels.view(-1))
    return window.view(batch, size, size, channels).permute(0, 3, 1, 2)


def cut_out(images: Tensor, side: int) -> Tensor:
    """Normalised images (B, C, H, W) with a square of `side` pixels at a random centre set to 0, the mean, in place."""
    batch, _, height, width = images.shape
    rows = torch.arange(height, device=images.device).view(1, 1, height, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, 1, width)
    top = torch.randint(height, (batch, 1, 1, 1), device=images.device) - side // 2
    left = torch.randint(width, (batch, 1, 1, 1), device=images.device) - side // 2
    inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return images.masked_fill_(inside, 0)


def shift_colour(images: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) shifted along the colour axes by N(0, 0.1) times their deviations, each image its own."""
    values = torch.tensor(COLOUR_VALUES, device=images.device)
    vectors = torch.tensor(COLOUR_VECTORS, device=images.device)
    shift = (torch.randn(len(images), 3, device=images.device) * 0.1 * values) @ vectors.T
    return (images.float() + 255 * shift.view(-1, 3, 1, 1)).clamp_(0, 255).round_().to(torch.uint8)


def finished(images: Tensor, preprocessing: Preprocessing, augmentation: Augmentation) -> Tensor:
    """What a cropped batch, uint8 (B, C, H, W), still goes through on the device: colour, normalisation, cutout."""
    if augmentation.colour:
        images = shift_colour(images)
    images = preprocessing.normalised(images)
    return cut_out(images, augmentation.cutout) if augmentation.cutout else images


def one_large(image: Tensor, preprocessing: Preprocessing, augmentation: Augmentation) -> Tensor:
    """uint8 (C, H, W) of any size -> a random view uint8 (C, size, size), drawn from the global random state.

    The crops "none" and "pad" begin from the image as evaluation fits it; "resized" and "scale" cut from the whole
    picture, which the fits "pad" and "squash" make square first (`squared`), so that shapes are those of evaluation.
    """
    size = preprocessing.size
    if augmentation.crop in ("resized", "scale"):
        image = squared(image, preprocessing)
    if augmentation.crop == "resized":
        top, left, height, width = RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3])
        image = preprocessing.resized(image[:, top : top + height, left : left + width], size, size)
    elif augmentation.crop == "scale":
        image = centre_of(image)
        low, high = round(size * 256 / 224), round(size * 480 / 224)
        shorter = int(torch.randint(low, high + 1, ()))
        scale = shorter / min(image.shape[1:])
        height, width = math.ceil(image.shape[1] * scale), math.ceil(image.shape[2] * scale)
        image = random_window(preprocessing.resized(image, height, width), size)
    elif augmentation.crop == "pad":
        image = random_window(F.pad(preprocessing.fitted(image), (augmentation.pad,) * 4), size)
    else:
        image = preprocessing.fitted(image)
    if augmentation.flip and torch.rand(()) < 0.5:
        image = tv.horizontal_flip(image)
    return image


def squared(image: Tensor, preprocessing: Preprocessing) -> Tensor:
    """The image as it is for the fit "crop"; otherwise the whole picture as a square that keeps its resolution.

    "pad": as long as the longer side; "squash": of as many pixels as the image. But no longer than SQUARE times the
    size: the smallest window that a crop takes has then as many pixels as it is to have.
    """
    if preprocessing.fit == "crop":
        return image
    height, width = image.shape[1:]
    side = max(height, width) if preprocessing.fit == "pad" else round(math.sqrt(height * width))
    return preprocessing.at(min(side, SQUARE * preprocessing.size)).fitted(image)


def random_window(image: Tensor, size: int) -> Tensor:
    top = int(torch.randint(image.shape[1] - size + 1, ()))
    left = int(torch.randint(image.shape[2] - size + 1, ()))
    return image[:, top : top + size, left : left + size]
