"""Losses of label maps. Pixels of IGNORE are not learnt.

Dice: Milletari, Navab, Ahmadi: V-Net. 3DV 2016, arXiv:1606.04797, with one term a class, of those in the batch.
Focal: Lin, Goyal, Girshick, He, Dollar: Focal Loss for Dense Object Detection. ICCV 2017, arXiv:1708.02002, sec. 3.2.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from skipway.data.mask_targets import IGNORE

GAMMA = 2.0  # of the focal loss
HEAVIEST = 20.0  # weight of a class: some stray pixels of one must not outweigh everything

Criterion = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """The mean over the pixels, each weighted by the weight of its class: logits float32 (N, C, H, W), labels int64
    (N, H, W), weights (C,)."""
    losses = functional.cross_entropy(logits, labels, weights, ignore_index=IGNORE, reduction="sum")
    return losses / total_weight(labels, weights)


def focal(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """`cross_entropy`, each pixel times (1 - p) ** GAMMA, p its class's probability."""
    plain = functional.cross_entropy(logits, labels, ignore_index=IGNORE, reduction="none")
    losses = (1 - torch.exp(-plain)) ** GAMMA * plain
    if weights is not None:
        losses = losses * weights[labels.where(labels != IGNORE, 0)]
    return losses.sum() / total_weight(labels, weights)


def dice(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """1 minus the mean Dice coefficient of the classes that occur in the batch; the class weights do not apply."""
    valid = labels != IGNORE
    probabilities = logits.softmax(1) * valid[:, None]
    truth = functional.one_hot(labels.where(valid, 0), logits.shape[1]).movedim(-1, 1) * valid[:, None]
    both, total = (probabilities * truth).sum((0, 2, 3)), (probabilities + truth).sum((0, 2, 3))
    held = truth.sum((0, 2, 3)) > 0
    if not held.any():
        return logits.sum() * 0
    return 1 - (2 * both[held] / total[held]).mean()


def cross_entropy_dice(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """The sum of both."""
    return cross_entropy(logits, labels, weights) + dice(logits, labels, weights)


CRITERIA: dict[str, Criterion] = {
    "cross-entropy": cross_entropy,
    "focal": focal,
    "dice": dice,
    "cross-entropy+dice": cross_entropy_dice,
}


def total_weight(labels: Tensor, weights: Tensor | None) -> Tensor:
    """The sum of the pixels' weights; 1 where no pixel is learnt."""
    valid = labels[labels != IGNORE]
    total = torch.tensor(float(len(valid)), device=labels.device) if weights is None else weights[valid].sum()
    return torch.where(total > 0, total, 1.0)


def median_frequency_weights(pixels: Tensor, images_pixels: Tensor) -> Tensor:
    """float32 (C,): the median of the classes' frequencies over each class's own, at most HEAVIEST; 0 for classes
    without pixels.

    A class's frequency is its pixels over all pixels of the images that have it: both float64 (C,) (Eigen, Fergus:
    Predicting Depth, Surface Normals and Semantic Labels. ICCV 2015, arXiv:1411.4734, sec. 6.3.2).
    """
    frequency = pixels / images_pixels.clamp(min=1)
    present = frequency > 0
    weights = torch.zeros_like(frequency)
    weights[present] = (frequency[present].median() / frequency[present]).clamp(max=HEAVIEST)
    return weights.float()
