"""Activation checkpointing: trade computation for memory in deep networks.

Chen, Xu, Zhang, Guestrin: Training Deep Nets with Sublinear Memory Cost. 2016, arXiv:1604.06174.

A stage of n units stores about sqrt(n) of their inputs in the forward pass, and recomputes the rest in the backward
pass: memory grows with the square root of depth, at the cost of one more forward pass.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from skipway.models.base import Network


class CheckpointedStage(nn.Sequential):
    """A stage's units, in segments of about sqrt(n) units that are recomputed in the backward pass.

    Outputs, gradients, batch-norm statistics and state-dict names are those of the plain sequence.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        units = list(self)
        length = math.isqrt(len(units) - 1) + 1
        for start in range(0, len(units), length):
            segment = nn.Sequential(*units[start : start + length])

            def contexts(
                segment: nn.Sequential = segment,
            ) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
                return nullcontext(), frozen_statistics(segment)

            x = checkpoint(segment, x, use_reentrant=False, context_fn=contexts)
        return x


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """Batch normalisation in training mode without updating the running statistics, which the first pass updated."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, counted) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counted


def recompute_stages(net: Network) -> bool:
    """Make every stage of `net` recomputed in the backward pass; returns False if it has no stages."""
    for stage in net.stages:
        setattr(net, stage, CheckpointedStage(*net.get_submodule(stage).children()))
    return bool(net.stages)
