"""Mixup and cutmix, drawn once a batch, so that each of several processes mixes its share as one process would.

Zhang, Cisse, Dauphin, Lopez-Paz: mixup: Beyond Empirical Risk Minimization. ICLR 2018, arXiv:1710.09412.
Yun, Han, Oh, Chun, Choe, Yoo: CutMix. ICCV 2019, arXiv:1905.04899.

torchvision's transforms mix an image with the one before it, which another process may have. Here it is the one half a
batch away: in a process's share, every world-th image, that is half a share away.
"""

import torch
from torch import Tensor
from torch.distributions import Beta

from skipway.errors import SkipwayError
from skipway.training.recipes import Recipe


def partners(values: Tensor) -> Tensor:
    """Each row's partner, half a batch away."""
    return values.roll(len(values) // 2, 0)


def mixed_up(images: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """`share` of each image and of its targets (N, classes), the rest of its partner's."""
    return images.lerp(partners(images), 1 - share), targets.lerp(partners(targets), 1 - share)


def cut_in(images: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """A rectangle of 1 - `share` of each image is its partner's, at one random place; targets by the pixels left."""
    height, width = images.shape[-2:]
    half = 0.5 * (1 - share) ** 0.5
    row, column = int(torch.randint(height, ())), int(torch.randint(width, ()))
    top, bottom = max(0, row - int(half * height)), min(height, row + int(half * height))
    left, right = max(0, column - int(half * width)), min(width, column + int(half * width))
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = partners(images)[..., top:bottom, left:right]
    replaced = (bottom - top) * (right - left) / (height * width)
    return mixed, targets.lerp(partners(targets), replaced)


def mixed(images: Tensor, targets: Tensor, recipe: Recipe, classes: int) -> tuple[Tensor, Tensor]:
    """Mixup, cutmix, or one of the two at random, as the recipe says, from the random state of the processor.

    images (N, C, H, W); targets (N,) or (N, classes); returns the images and targets (N, classes) in float32.
    """
    ways = [(w, alpha) for w, alpha in ((mixed_up, recipe.mixup), (cut_in, recipe.cutmix)) if alpha]
    way, alpha = ways[int(torch.randint(len(ways), ()))] if len(ways) > 1 else ways[0]
    share = float(Beta(alpha, alpha).sample())
    soft = targets if targets.ndim == 2 else torch.nn.functional.one_hot(targets, classes)
    return way(images, soft.float(), share)


def require_pairs(recipe: Recipe, world: int) -> None:
    """Raises SkipwayError where partners would be in different processes."""
    if (recipe.mixup or recipe.cutmix) and world > 1 and recipe.batch % (2 * world):
        raise SkipwayError(
            f"a batch of {recipe.batch} cannot be mixed by {world} processes: make --batch a multiple of {2 * world}"
        )
