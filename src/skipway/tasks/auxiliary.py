"""Losses of networks that judge more than once: auxiliary classifiers count, each a part of the last one."""

from collections.abc import Callable

import torch
from torch import Tensor

from skipway.models.contract import Judged

AUXILIARY = 0.3


def over_classifiers(loss: Callable[[Tensor], Tensor], scores: Tensor | Judged) -> Tensor:
    """`loss` of the scores; each auxiliary classifier adds AUXILIARY of its own (Szegedy 2015, arXiv:1409.4842, 5)."""
    if isinstance(scores, Judged):
        return loss(scores.scores) + AUXILIARY * torch.stack([loss(other) for other in scores.auxiliary]).sum()
    return loss(scores)


def undecided(scores: Tensor | Judged) -> Tensor | Judged:
    """Scores of the same shapes that prefer nothing: all 0. Their loss is what a fresh network should start near."""
    if isinstance(scores, Judged):
        return Judged(torch.zeros_like(scores.scores), tuple(torch.zeros_like(other) for other in scores.auxiliary))
    return torch.zeros_like(scores)
