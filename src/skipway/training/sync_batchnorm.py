"""Batch normalisation over the images of all processes, also on CPUs, where torch has none."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class AllReduceSum(torch.autograd.Function):
    """The sum of a tensor over the processes. Its gradient is the sum of the gradients in all of them."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


class SyncBatchNorm(nn.BatchNorm2d):
    """`nn.BatchNorm2d` with mean and variance over the images of all processes, which have equally many.

    The mean is exchanged first and the deviations from it after, to avoid cancellation. Gradients pass through both
    exchanges. In evaluation, and while frozen, it equals `nn.BatchNorm2d`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        if not self.training:
            return super().forward(x)
        world, values = dist.get_world_size(), x.float()
        mean = AllReduceSum.apply(values.mean((0, 2, 3))) / world
        centred = values - mean.view(1, -1, 1, 1)
        variance = AllReduceSum.apply(centred.square().mean((0, 2, 3))) / world
        self.update_running(mean.detach(), variance.detach(), x.numel() // x.shape[1] * world)
        scale = torch.rsqrt(variance + self.eps) * self.weight
        return (centred * scale.view(1, -1, 1, 1) + self.bias.view(1, -1, 1, 1)).to(x.dtype)

    @torch.no_grad()
    def update_running(self, mean: Tensor, variance: Tensor, count: int) -> None:
        """Update the running statistics with a batch of `count` values per channel."""
        if self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
        assert self.running_mean is not None
        assert self.running_var is not None
        momentum = self.momentum if self.momentum is not None else 1 / int(self.num_batches_tracked or 1)
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * count / (count - 1), momentum)


def convert_sync_batchnorm(net: nn.Module, of_torch: bool) -> None:
    """Replace every batch norm of `net`, in place, by one over all processes; `of_torch`: by torch's module for GPUs.

    Parameters, running statistics and state-dict names do not change.
    """
    for name, norm in list(net.named_modules()):
        if type(norm) is not nn.BatchNorm2d:
            continue
        kind = nn.SyncBatchNorm if of_torch else SyncBatchNorm
        device, dtype = norm.weight.device, norm.weight.dtype
        new = kind(norm.num_features, norm.eps, norm.momentum, device=device, dtype=dtype)
        new.weight, new.bias, new.training = norm.weight, norm.bias, norm.training
        new.running_mean, new.running_var = norm.running_mean, norm.running_var
        new.num_batches_tracked = norm.num_batches_tracked
        net.set_submodule(name, new)
