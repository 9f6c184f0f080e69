"""Mixup and CutMix, drawn once per batch: several processes mix as one process would.

Zhang, Cisse, Dauphin, Lopez-Paz: mixup: Beyond Empirical Risk Minimization. ICLR 2018, arXiv:1710.09412.
Yun, Han, Oh, Chun, Choe, Yoo: CutMix. ICCV 2019, arXiv:1905.04899.

torchvision's transforms mix an image with the one before it, which another process may have. Here the partner is half
a batch away: in a process's share, every world-th image, that is half a share away.
"""

import torch
from torch import Tensor
from torch.distributions import Beta

from skipway.data.loader import Batch
from skipway.errors import SkipwayError
from skipway.training.recipes import Recipe


def partners(values: Tensor) -> Tensor:
    """Each row's partner, half a batch away."""
    return values.roll(len(values) // 2, 0)


def mixup(images: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """`share` of each image and of its targets (N, classes), the rest from its partner."""
    return images.lerp(partners(images), 1 - share), targets.lerp(partners(targets), 1 - share)


def cutmix(images: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """A rectangle of 1 - `share` of each image is replaced by its partner's, at one random place; targets by area."""
    height, width = images.shape[-2:]
    half = 0.5 * (1 - share) ** 0.5
    row, column = int(torch.randint(height, ())), int(torch.randint(width, ()))
    top, bottom = max(0, row - int(half * height)), min(height, row + int(half * height))
    left, right = max(0, column - int(half * width)), min(width, column + int(half * width))
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = partners(images)[..., top:bottom, left:right]
    replaced = (bottom - top) * (right - left) / (height * width)
    return mixed, targets.lerp(partners(targets), replaced)


def mix_batch(batch: Batch, soft: Tensor, recipe: Recipe) -> Batch:
    """Mixup, CutMix, or one of the two at random, as the recipe sets, from the CPU's random state.

    soft: the batch's targets as (N, outputs) float32, which become those of the mixed images.
    """
    methods = [(method, alpha) for method, alpha in ((mixup, recipe.mixup), (cutmix, recipe.cutmix)) if alpha]
    method, alpha = methods[int(torch.randint(len(methods), ()))] if len(methods) > 1 else methods[0]
    share = float(Beta(alpha, alpha).sample())
    return Batch(*method(batch.images, soft, share))


def require_even_share(recipe: Recipe, world: int) -> None:
    """Raises SkipwayError where partners would be in different processes."""
    if (recipe.mixup or recipe.cutmix) and world > 1 and recipe.batch % (2 * world):
        raise SkipwayError(
            f"a batch of {recipe.batch} cannot be mixed by {world} processes: make --batch a multiple of {2 * world}"
        )
