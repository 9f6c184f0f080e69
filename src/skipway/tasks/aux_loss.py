"""Losses of networks with auxiliary classifiers."""

from collections.abc import Callable

import torch
from torch import Tensor

from skipway.models.base import ModelOutput

AUXILIARY = 0.3


def with_auxiliary_losses(loss: Callable[[Tensor], Tensor], scores: Tensor | ModelOutput) -> Tensor:
    """`loss` of the scores; each auxiliary classifier adds AUXILIARY of its loss (Szegedy 2015, arXiv:1409.4842, 5)."""
    if isinstance(scores, ModelOutput):
        return loss(scores.scores) + AUXILIARY * torch.stack([loss(other) for other in scores.auxiliary]).sum()
    return loss(scores)
