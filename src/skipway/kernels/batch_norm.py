"""Batch normalisation and ReLU, with an addition between them or without, in training on CPUs.

torch reads and writes the map several times: mean, variance, normalisation, addition and ReLU one after the other.
The kernels read it twice, and the gradients' likewise (batch_norm.cpp).
"""

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import increment_version

from skipway.errors import SkipwayError
from skipway.kernels.library import Kernels, load

TYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float64: 2}  # as in batch_norm.cpp
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def batch_norm_relu(
    norm: nn.Module, between: Sequence[nn.Module], relu: nn.Module | None, x: Tensor, skip: Tensor | None = None
) -> Tensor:
    """`relu(between(norm(x)) + skip)`, (N, C, H, W), in few passes over memory where that is possible.

    It is possible for an `nn.BatchNorm2d` in training mode, modules `between` that are identities, an `nn.ReLU` or None
    for the function, and channels-last tensors of one type. Otherwise, and where a module has hooks, the modules run
    one after the other. Results are those of torch within rounding: the sum is rounded once, after the addition.

    Raises SkipwayError in a backward pass that is to be differentiated again.
    """
    kernels, _ = load()
    if kernels is None or not are_plain(norm, between, relu) or not fits(norm, x, skip):
        return one_after_the_other(norm, between, relu, x, skip)
    assert isinstance(norm, nn.BatchNorm2d)
    momentum = 0.0 if norm.momentum is None else norm.momentum
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        momentum = 1 / int(norm.num_batches_tracked) if norm.momentum is None else momentum
    statistics = norm.running_mean, norm.running_var
    return BatchNormReLU.apply(kernels, x, skip, norm.weight, norm.bias, *statistics, momentum, norm.eps)


def one_after_the_other(
    norm: nn.Module, between: Sequence[nn.Module], relu: nn.Module | None, x: Tensor, skip: Tensor | None
) -> Tensor:
    """As `batch_norm_relu`, by torch."""
    x = norm(x)
    for module in between:
        x = module(x)
    if skip is not None:
        x = x.add_(skip)
    return F.relu(x, inplace=True) if relu is None else relu(x)


def are_plain(norm: nn.Module, between: Sequence[nn.Module], relu: nn.Module | None) -> bool:
    """Whether the modules do what their types say, and nothing besides."""
    kinds = type(norm) is nn.BatchNorm2d and type(relu) in (nn.ReLU, type(None))
    modules = [norm, *between, *([relu] if relu is not None else [])]
    return (
        kinds
        and all(type(module) is nn.Identity for module in between)
        and not any(getattr(module, hooks) for module in modules for hooks in HOOKS)
    )


def fits(norm: nn.Module, x: Tensor, skip: Tensor | None) -> bool:
    """Whether the kernels can take these tensors, and the statistics are those of the batch."""
    assert isinstance(norm, nn.BatchNorm2d)
    if not norm.training or not norm.affine or norm.running_mean is None or norm.running_var is None:
        return False
    expected = torch.float64 if x.dtype is torch.float64 else torch.float32
    parameters = norm.weight, norm.bias, norm.running_mean, norm.running_var
    return (
        x.dtype in TYPES
        and x.dim() == 4
        and x.shape[1] == norm.num_features
        and x.numel() > x.shape[1]  # a variance needs two values
        and x.is_contiguous(memory_format=torch.channels_last)
        and all(p.dtype is expected and p.is_contiguous() and p.device.type == "cpu" for p in parameters)
        and x.device.type == "cpu"
        and (skip is None or (skip.shape == x.shape and skip.dtype is x.dtype and skip.device.type == "cpu"))
    )


def pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def size_of(kernels: Kernels, x: Tensor) -> tuple[Any, ...]:
    """The first arguments of both kernels: threads, the level of instructions, the type, rows and channels."""
    rows = x.numel() // x.shape[1]
    threads = ctypes.byref(kernels.threads)
    return threads, torch.get_num_threads(), kernels.level, TYPES[x.dtype], rows, x.shape[1]


def require_memory(failed: int) -> None:
    """Raises MemoryError where a kernel said that it got none."""
    if failed:
        raise MemoryError("out of memory in a kernel")


class BatchNormReLU(torch.autograd.Function):
    """The kernels. `x` and `skip` are stored channels-last; running statistics are updated in place."""

    @staticmethod
    def forward(
        context: Any,
        kernels: Kernels,
        x: Tensor,
        skip: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        var: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        if skip is not None:
            skip = skip.contiguous(memory_format=torch.channels_last)
        y, saved = torch.empty_like(x), torch.empty(3, x.shape[1], dtype=weight.dtype)
        tensors = [pointer(t) for t in (x, skip, y, weight, bias, mean, var)]
        require_memory(kernels.forward(*size_of(kernels, x), *tensors, momentum, eps, saved.data_ptr()))
        increment_version([mean, var])
        context.kernels = kernels
        context.save_for_backward(x, weight, saved, *([] if skip is None else [y]))
        return y

    @staticmethod
    def backward(context: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise SkipwayError(
                "fused units have no second derivative (create_graph=True): give hardware.decide(fused_units='off')"
            )
        x, weight, saved, *ys = context.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        dx, parameters = torch.empty_like(x), torch.empty(2, x.shape[1], dtype=weight.dtype)
        y, dskip = (ys[0], torch.empty_like(x)) if ys else (None, None)
        tensors = [pointer(t) for t in (x, y, dy, dx, dskip, weight, saved, parameters)]
        require_memory(context.kernels.backward(*size_of(context.kernels, x), *tensors))
        return None, dx, dskip, parameters[0], parameters[1], None, None, None, None
