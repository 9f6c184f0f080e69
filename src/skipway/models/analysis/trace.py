"""Trace a network's layers, their connections, costs and receptive fields, with an image on the meta device.

The image has a shape and no data, so that nothing is computed and the deepest network takes a second. Every operation
is traced, not only modules: an addition or a slice outside any module still propagates the receptive field.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from skipway.models.base import Network

aten = torch.ops.aten
FLOAT32 = 4  # bytes
POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d)


@dataclass(frozen=True)
class Layer:
    """A layer, or a join, where several paths meet ("add", "multiply", "concat").

    `name` is the module's, empty for a join and for pooling without a module; `unit` the part of the network it belongs
    to; `kernel` a description. `output` is (C, H, W), or (C,) after the classifier. `multiply_adds` are for one image.
    `receptive` is the side in input pixels of the square that one position of the output can depend on, over all paths,
    including any part outside the image; None if a position depends on every pixel. `memory` is the output's bytes at
    float32 for one image. `sources` are the indices of the layers that it depends on; empty for the image.
    """

    name: str
    unit: str
    kind: str
    kernel: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    receptive: int | None
    memory: int
    sources: tuple[int, ...]

    @property
    def join(self) -> bool:
        return not self.name and self.kind != "pool"

    @property
    def weighted(self) -> bool:
        """Whether it counts towards the depth in the papers: a convolution or linear layer with parameters."""
        return self.kind in {"conv", "linear"} and self.parameters > 0


@dataclass(frozen=True)
class Span:
    """The receptive field of position 0 of a map along one side: input pixels `low` to `high`, `jump` per position.

    Infinite if a position depends on everything.
    """

    low: float = 0
    high: float = 0
    jump: float = 1

    def through(self, kernel: int, stride: int, padding: int, dilation: int = 1) -> "Span":
        """The span after a sliding window of `kernel` positions."""
        first = self.low - padding * self.jump
        last = self.high + (dilation * (kernel - 1) - padding) * self.jump
        return Span(first, last, self.jump * stride)

    def union(self, other: "Span") -> "Span":
        """The span of a map that depends on both."""
        return Span(min(self.low, other.low), max(self.high, other.high), max(self.jump, other.jump))


UNBOUNDED = Span(-math.inf, math.inf)
Field = tuple[Span, Span]  # along height and width
Traced = tuple[Tensor, Field, frozenset[int]]  # a tensor, its receptive field, and the layers it depends on


def layers(net: nn.Module, shape: tuple[int, int, int]) -> list[Layer]:
    """The layers and joins in the order in which an image of `shape` (C, H, W) passes them in evaluation mode."""
    with meta_forward(net, shape) as (tensors, image), torch.no_grad():
        tracer = LayerTracer(net, image)
        handles = [
            handle
            for name, module in net.named_modules()
            for handle in (
                module.register_forward_pre_hook(lambda m, x, name=name: tracer.enter(name, m, x)),
                module.register_forward_hook(lambda m, x, y, name=name: tracer.leave(name, m, y)),
            )
        ]
        try:
            with tracer:
                functional_call(net, tensors, (image,))
        finally:
            for handle in handles:
                handle.remove()
    return tracer.steps


def layer_table(net: nn.Module, shape: tuple[int, int, int]) -> list[Layer]:
    """The `layers` that are modules."""
    return [layer for layer in layers(net, shape) if layer.name]


def activation_bytes(net: nn.Module, shape: tuple[int, int, int]) -> int:
    """Bytes of activations that training stores per image for the backward pass of `net`, at float32.

    Counted as autograd saves them: every stored tensor once, however many layers need it, and the indices of max
    pooling; the weights, the image and the masks of dropout are not counted.
    """
    saved: dict[int, int] = {}

    def record(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage.nbytes()
        return tensor

    with meta_forward(net, shape) as (tensors, image), torch.enable_grad():
        known = {tensor.untyped_storage()._cdata for tensor in (*tensors.values(), image)}
        with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
            outputs = functional_call(net, tensors, (image,))
    stored = sum(size for address, size in saved.items() if address not in known)
    del outputs  # whose graph kept the storages alive: their addresses would have been reused
    return stored


def depth(steps: Sequence[Layer]) -> int:
    """Weighted layers on the longest path, as counted in the papers: projections are parallel to longer paths."""
    depths: list[int] = []
    for step in steps:
        before = max((depths[source] for source in step.sources), default=0)
        depths.append(before + step.weighted)
    return max(depths, default=0)


@contextmanager
def meta_forward(net: nn.Module, shape: tuple[int, int, int]) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """Put `net` in evaluation mode; yields its tensors on the meta device by name, and an image of `shape` there."""
    modes = [(module, module.training) for module in net.modules()]
    tensors = {name: parameter.detach().to("meta").requires_grad_() for name, parameter in net.named_parameters()}
    tensors |= {name: buffer.to("meta") for name, buffer in net.named_buffers()}
    try:
        net.eval()
        yield tensors, torch.empty(1, *shape, device="meta")
    finally:
        for module, training in modes:
            module.training = training


# ---------------------------------------------------------------------------------------------------------------------
# Tracing


class LayerTracer(TorchDispatchMode):
    """Follows every tensor that depends on the image: its receptive field, and the layers it depends on."""

    def __init__(self, net: nn.Module, image: Tensor) -> None:
        super().__init__()
        self.units = Units(net)
        self.steps: list[Layer] = []
        self.active: list[ActiveModule] = []
        self.counted: set[int] = set()  # parameters already counted: those of a module that is used twice count once
        # The tensors are stored too: the id of a freed tensor would be reused.
        self.traced: dict[int, tuple[Tensor, Field, frozenset[int]]] = {
            id(image): (image, (Span(), Span()), frozenset())
        }

    def enter(self, name: str, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        known = [self.traced[id(x)] for x in tensors_of(inputs) if id(x) in self.traced]
        size = tuple(known[0][0].shape[2:]) if known else ()
        leaf = not any(True for _ in module.children())
        self.active.append(ActiveModule(name, leaf, size, all_sources(known)))

    def leave(self, name: str, module: nn.Module, output: Any) -> None:
        """Add a layer for a module that has parameters, or for a leaf that multiplies, pools or changes the size."""
        inside = self.active.pop()
        if not isinstance(output, Tensor) or id(output) not in self.traced:
            return
        own = [p for p in module.parameters(recurse=False) if id(p) not in self.counted]
        resized = inside.leaf and output.dim() == 4 and tuple(output.shape[2:]) != inside.size
        if own or inside.multiply_adds or resized or isinstance(module, POOLS):
            self.counted |= {id(p) for p in own}
            _, field, sources = self.traced[id(output)]
            sources = inside.sources if inside.leaf else sources
            self.add_layer(name, *describe(module), output, field, sum(p.numel() for p in own), inside, sources)

    def add_layer(
        self,
        name: str,
        kind: str,
        kernel: str,
        output: Tensor,
        field: Field,
        parameters: int,
        inside: "ActiveModule",
        sources: frozenset[int],
    ) -> None:
        sides = [span.high - span.low + 1 for span in field]
        layer = Layer(
            name=name,
            unit=self.units.of(inside.name),
            kind=kind,
            kernel=kernel,
            output=tuple(output.shape[1:]),
            parameters=parameters,
            multiply_adds=inside.multiply_adds if name else 0,
            receptive=int(max(sides)) if max(sides) < math.inf else None,
            memory=FLOAT32 * output.numel(),
            sources=tuple(sorted(sources)),
        )
        self.traced[id(output)] = (output, field, frozenset({len(self.steps)}))
        self.steps.append(layer)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        known = [self.traced[id(x)] for x in tensors_of(args) if id(x) in self.traced]
        before = known[0][0].shape if known else ()
        result = func(*args, **(kwargs or {}))
        output = result[0] if isinstance(result, tuple | list) else result
        if not known or not isinstance(output, Tensor):
            return result
        field, sources = output_field(func, args, before, [field for _, field, _ in known], output), all_sources(known)
        self.traced[id(output)] = (output, field, sources)
        here = self.active[-1]
        here.multiply_adds += count_multiply_adds(func, args, output)
        if func in JOINS and any(one != sources for _, _, one in known):
            self.add_layer("", JOINS[func], "", output, field, 0, here, sources)
        elif func in POOLING and not here.leaf:
            self.add_layer("", "pool", format_size(args[1]), output, field, 0, here, sources)
        return result


@dataclass
class ActiveModule:
    """A module being run: its input's (H, W), the layers before it, and its multiply-adds so far."""

    name: str
    leaf: bool
    size: tuple[int, ...]
    sources: frozenset[int]
    multiply_adds: int = 0


POOLING = {aten.max_pool2d_with_indices.default, aten.avg_pool2d.default, aten._adaptive_avg_pool2d.default}
JOINS = {
    aten.add.Tensor: "add",
    aten.add_.Tensor: "add",
    aten.mul.Tensor: "multiply",
    aten.mul_.Tensor: "multiply",
    aten.cat.default: "concat",
}


def all_sources(known: Sequence[Traced]) -> frozenset[int]:
    """The layers that any of the tensors depends on."""
    return frozenset(index for _, _, sources in known for index in sources)


def tensors_of(args: Sequence[Any]) -> Iterator[Tensor]:
    """The tensors in the arguments of an operation, also in nested lists."""
    for value in args:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_of(value)


def count_multiply_adds(func: Any, args: Sequence[Any], output: Tensor) -> int:
    """Multiply-adds of a convolution or matrix product, for one image; 0 for anything else."""
    if func is aten.convolution.default:
        weight = args[1]
        return output[0].numel() * weight[0].numel()
    if func in {aten.mm.default, aten.bmm.default}:
        return output.numel() * args[0].shape[-1]
    if func is aten.addmm.default:
        return output.numel() * args[1].shape[-1]
    return 0


def output_field(
    func: Any, args: Sequence[Any], before: Sequence[int], fields: Sequence[Field], output: Tensor
) -> Field:
    """The receptive field of an operation's output, given its input's shape and its inputs' receptive fields.

    An operation that keeps the map's size keeps the receptive field; one that changes it in an unknown way is assumed
    to depend on everything, such as a mean over the map.
    """
    field = fields[0]
    for other in fields[1:]:
        field = (field[0].union(other[0]), field[1].union(other[1]))
    if output.dim() < 4 or len(before) < 4:
        return UNBOUNDED, UNBOUNDED
    window = sliding_window(func, args, before)
    if window is not None:
        height, width = (span.through(*side) for span, side in zip(field, window, strict=True))
        return height, width
    if func is aten.slice.Tensor and args[1] % len(before) >= len(before) - 2:
        start, step = (args[2] or 0) if len(args) > 2 else 0, args[4] if len(args) > 4 else 1
        axis = args[1] % len(before) - (len(before) - 2)
        cut = list(field)
        cut[axis] = field[axis].through(1, step, -start)
        return cut[0], cut[1]
    if func in {aten.constant_pad_nd.default, aten.reflection_pad2d.default, aten.replication_pad2d.default}:
        sides = [*args[1], 0, 0, 0]
        return field[0].through(1, 1, sides[2]), field[1].through(1, 1, sides[0])
    return field if output.shape[-2:] == before[-2:] else (UNBOUNDED, UNBOUNDED)


def sliding_window(func: Any, args: Sequence[Any], before: Sequence[int]) -> list[tuple[int, int, int, int]] | None:
    """Kernel, stride, padding and dilation along each side of a sliding window; None if `func` has none."""
    if func is aten.convolution.default:
        kernel, (stride, padding, dilation) = args[1].shape[2:], args[3:6]
    elif func in {aten.max_pool2d_with_indices.default, aten.avg_pool2d.default}:
        kernel = args[1]
        stride = (args[2] if len(args) > 2 else None) or kernel
        padding = args[3] if len(args) > 3 else (0,)
        dilation = args[4] if func is aten.max_pool2d_with_indices.default and len(args) > 4 else (1,)
    elif func is aten._adaptive_avg_pool2d.default and before[-2] % args[1][0] == before[-1] % args[1][1] == 0:
        kernel = stride = [before[-2] // args[1][0], before[-1] // args[1][1]]
        padding, dilation = (0,), (1,)
    else:
        return None
    return [tuple(part[axis % len(part)] for part in (kernel, stride, padding, dilation)) for axis in (0, 1)]


# ---------------------------------------------------------------------------------------------------------------------
# Text


def describe(module: nn.Module) -> tuple[str, str]:
    """(kind, description of the kernel) of a module."""
    if isinstance(module, nn.Conv2d):
        stride = f", stride {module.stride[0]}" if module.stride[0] > 1 else ""
        groups = f", {module.groups} groups" if module.groups > 1 else ""
        return "conv", f"{format_size(module.kernel_size)}, {module.out_channels}{stride}{groups}"
    if isinstance(module, nn.BatchNorm2d):
        return "norm", ""
    if isinstance(module, nn.MaxPool2d | nn.AvgPool2d):
        mean = " mean" if isinstance(module, nn.AvgPool2d) else ""
        return "pool", f"{format_size(module.kernel_size)}{mean}, stride {format_size(module.stride).split('x')[0]}"
    if isinstance(module, nn.AdaptiveAvgPool2d):
        return "pool", f"mean to {format_size(module.output_size)}"
    if isinstance(module, nn.Linear):
        return "linear", f"{module.in_features} -> {module.out_features}"
    return type(module).__name__.lower(), ""


def format_size(size: Any) -> str:
    """3 or (3, 3) as "3x3"."""
    height, width = size if isinstance(size, tuple | list) else (size, size)
    return f"{height}x{width}"


class Units:
    """The part of a network that a module belongs to: a child of a stage, or else the largest non-list module.

    A list is an `nn.Sequential` or similar, or a module whose children are all of the same type.
    """

    def __init__(self, net: nn.Module) -> None:
        self.stages = set(net.stages) if isinstance(net, Network) else set()
        self.lists = {name: is_list(module) for name, module in net.named_modules()}

    def of(self, name: str) -> str:
        parts = name.split(".")
        for count in range(1, len(parts)):
            prefix = ".".join(parts[:count])
            above = any(stage == prefix or stage.startswith(f"{prefix}.") for stage in self.stages)
            if not above and not self.lists[prefix]:
                return prefix
        return name


def is_list(module: nn.Module) -> bool:
    if isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return True
    kinds = {type(child) for child in module.children()}
    return len(kinds) == 1 and all(any(True for _ in child.children()) for child in module.children())
