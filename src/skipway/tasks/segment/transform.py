"""Augmentation of images together with their label maps: scale jitter with a crop, and mirroring."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skipway.data.loader import Transform
from skipway.data.mask_targets import IGNORE, MaskTargets
from skipway.data.preprocess import Preprocessing
from skipway.data.targets import Targets
from skipway.tasks.crop_window import cut, random_window, whole_image


@dataclass(frozen=True)
class LabelMapTransform(Transform):
    """jitter: whether scale and place are drawn; flip: whether half of the images are mirrored; crop: height and width
    of a random crop in pixels of the network's input."""

    preprocessing: Preprocessing
    jitter: bool
    flip: bool
    crop: tuple[int, int]

    def read(self, targets: Targets, place: int) -> Tensor:
        assert isinstance(targets, MaskTargets)
        return torch.from_numpy(targets.label_map(place))

    def for_epoch(self, epoch: int) -> "LabelMapTransform":
        return self

    def __call__(self, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """The input, uint8 (C, h, w), and its label map, uint8 (h, w), IGNORE outside of the image.

        `target`, uint8 (H, W), may be larger than `image`, which may have been downscaled.
        """
        size = image.shape[1], image.shape[2]
        if self.jitter:
            height, width = self.crop
            window = random_window(self.preprocessing, size, self.crop)
            image = cut(image, window, replace(self.preprocessing, height=height, size=width))
            placed = window.of_masks(target, self.crop, outside=IGNORE)
        else:
            window = whole_image(self.preprocessing, size)
            image = self.preprocessing.fitted(image)
            placed = window.of_masks(target, self.preprocessing.canvas, outside=IGNORE)
        if self.flip and torch.rand(()) < 0.5:
            return image.flip(-1), placed.flip(-1)
        return image, placed
