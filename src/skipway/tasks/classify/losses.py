"""Losses of scores by class besides cross-entropy.

Focal: Lin, Goyal, Girshick, He, Dollar: Focal Loss for Dense Object Detection. ICCV 2017, arXiv:1708.02002, sec. 3.2.
Distillation: Hinton, Vinyals, Dean 2015, arXiv:1503.02531, sec. 2.1; of labels that are independent as for each alone.
"""

import torch.nn.functional as F
from torch import Tensor

GAMMA = 2.0  # of the focal loss


def softmax_focal(scores: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """The mean over images of the sum over classes of t w (1 - p)^GAMMA (-log p), p the softmax of scores (N, C).

    targets: (N, C) that sum to 1; weights: (C,).
    """
    log = F.log_softmax(scores, 1)
    losses = -targets * (1 - log.exp()) ** GAMMA * log
    return (losses if weights is None else losses * weights).sum() / len(scores)


def sigmoid_focal(scores: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """torchvision's, without alpha, the mean over images and classes; `weights` (C,) multiply it where a class is
    present, as they do in binary cross-entropy. scores, targets: (N, C)."""
    from torchvision.ops import sigmoid_focal_loss  # here, since it takes as long to import as torch

    losses = sigmoid_focal_loss(scores, targets, alpha=-1, gamma=GAMMA)
    return (losses if weights is None else losses * (1 + (weights - 1) * targets)).mean()


def softmax_distillation(scores: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """The mean divergence KL(teacher || student) of softmax(scores / temperature) in nats, times temperature squared,
    so that its gradients do not depend on it. scores, teacher: (N, C)."""
    ours, theirs = F.log_softmax(scores / temperature, 1), F.log_softmax(teacher / temperature, 1)
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2


def sigmoid_distillation(scores: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """As `softmax_distillation`, of each class for itself: the mean over images and classes."""
    ours, theirs = scores / temperature, teacher / temperature
    cross = F.binary_cross_entropy_with_logits(ours, theirs.sigmoid())
    return (cross - F.binary_cross_entropy_with_logits(theirs, theirs.sigmoid())) * temperature**2
