"""What a network is made of, as a table: for each layer its output, parameters and multiply-adds."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Layer:
    """`output` is (C, H, W), or (C,) for a linear layer; `kernel` is in words; multiply-adds are for one image."""

    name: str
    kind: str
    kernel: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int


def describe(name: str, module: nn.Module, output: Tensor) -> Layer | None:
    """The row of a convolution (with its multiply-adds), batch normalisation, pooling or linear layer; else None."""
    shape = tuple(output.shape[1:])
    parameters = sum(p.numel() for p in module.parameters(recurse=False))
    if isinstance(module, nn.Conv2d):
        stride = f", stride {module.stride[0]}" if module.stride[0] > 1 else ""
        kernel = f"{module.kernel_size[0]}x{module.kernel_size[1]}, {module.out_channels}{stride}"
        return Layer(name, "conv", kernel, shape, parameters, module.weight.numel() * shape[1] * shape[2])
    if isinstance(module, nn.BatchNorm2d):
        return Layer(name, "norm", "", shape, parameters, 0)
    if isinstance(module, nn.MaxPool2d):
        return Layer(name, "pool", f"{module.kernel_size}x{module.kernel_size}, stride {module.stride}", shape, 0, 0)
    if isinstance(module, nn.Linear):
        return Layer(
            name, "linear", f"{module.in_features} -> {module.out_features}", shape, parameters, module.weight.numel()
        )
    return None


def layer_table(net: nn.Module, channels: int, size: int) -> list[Layer]:
    """The layers in the order in which an image of (channels, size, size) meets them.

    `net` may be on the meta device, where nothing is computed; it is left in evaluation mode without hooks.
    """
    rows: list[Layer] = []
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def note(_module: nn.Module, _inputs: tuple, output: Tensor) -> None:
            row = describe(name, module, output)
            if row is not None:
                rows.append(row)

        handles.append(module.register_forward_hook(note))

    for name, module in net.named_modules():
        if not any(True for _ in module.children()):
            watch(name, module)
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, channels, size, size, device=next(net.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    return rows
