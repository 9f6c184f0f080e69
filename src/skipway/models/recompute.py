"""Activation checkpointing: depth paid in time instead of memory.

Chen, Xu, Zhang, Guestrin: Training Deep Nets with Sublinear Memory Cost. 2016, arXiv:1604.06174.

A stage of n units keeps about sqrt(n) of their inputs in the forward pass, and computes the rest again in the backward
pass: memory grows with the square root of depth for one more forward pass.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from skipway.models.contract import Network


class Recomputed(nn.Sequential):
    """A stage's units, in segments of about sqrt(n) whose insides are computed again in the backward pass.

    Outputs, gradients and batch-norm statistics are those of the plain sequence; state-dict names too.
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
                return nullcontext(), statistics_at_rest(segment)

            x = checkpoint(segment, x, use_reentrant=False, context_fn=contexts)
        return x


@contextmanager
def statistics_at_rest(module: nn.Module) -> Iterator[None]:
    """Batch normalisation by the batch's own statistics, without moving the running ones, which the first pass did."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d) and m.training]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, counted) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counted


def recompute_stages(net: Network) -> None:
    """Have every stage of `net` computed again in the backward pass; a network without stages is left as it is."""
    for stage in net.stages:
        setattr(net, stage, Recomputed(*net.get_submodule(stage).children()))
