"""Which layers int8 serves badly: for each, how much noise its rounded input would put into its output.

A layer's input has one scale for all of its channels. Where one channel is far larger than the others, they are rounded
away, which hurts as much as the weights make of them: noise over signal is sum e_c |W_c|^2 / sum s_c |W_c|^2, with e_c
the mean squared rounding error and s_c the mean square of channel c, and W_c the weights that read it (channels taken
as uncorrelated; compare Nagel 2019, arXiv:1906.04721, sec. 3).

A layer that is applied several times, as a detector's head to each level of its pyramid, is several operations of the
graph with the same weights. It counts once, with the noise of its worst use.
"""

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skipway.deploy.openvino_core import core

WEIGHTED = {"Convolution", "GroupConvolution", "MatMul"}
LEVELS = 255


def layers_of(graph: Any) -> list[Any]:
    """The operations of an ov.Model that have weights, in order."""
    return [op for op in graph.get_ordered_ops() if op.get_type_name() in WEIGHTED]


def behind_layers(graph: Any) -> list[str]:
    """The operations of an ov.Model from which no layer with weights can be reached, by name: what is made of the last
    layers' outputs, as a detector's boxes and scores are."""
    before: set[str] = set()
    found = []
    for op in reversed(graph.get_ordered_ops()):
        readers = {place.get_node().get_friendly_name() for out in op.outputs() for place in out.get_target_inputs()}
        if op.get_type_name() in WEIGHTED or readers & before:
            before.add(op.get_friendly_name())
        elif op.get_type_name() not in ("Constant", "Result"):
            found.append(op.get_friendly_name())
    return found[::-1]


def ranked(graph: Any, images: Tensor) -> list[tuple[str, ...]]:
    """The layers of an ov.Model that is not quantised yet, the most sensitive first, seen on `images`: of each the
    names of its operations."""
    tapped = graph.clone()
    own, layers = len(tapped.outputs), layers_of(tapped)
    sources = {source_of(layer): layer.input_value(0) for layer in layers}  # several layers may read one map
    tapped.add_outputs(list(sources.values()))
    compiled = core().compile_model(tapped, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled([images.contiguous().numpy()])
    maps = {source: found[compiled.output(own + i)] for i, source in enumerate(sources)}
    noise: dict[str, float] = defaultdict(float)
    uses: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for layer in layers:
        weights = layer.input_value(1).get_node().get_friendly_name()
        uses[weights] += (layer.get_friendly_name(),)
        noise[weights] = max(noise[weights], noise_over_signal(maps[source_of(layer)], weights_of(layer)))
    return [uses[weights] for weights in sorted(noise, key=noise.__getitem__, reverse=True)]


def source_of(layer: Any) -> tuple[str, int]:
    """What tells a layer's input from others: the operation that gives it, and which of its outputs."""
    value = layer.input_value(0)
    return value.get_node().get_friendly_name(), value.get_index()


def weights_of(layer: Any) -> np.ndarray:
    """(inputs,): the sum of squares of the weights that read each input channel."""
    values = np.asarray(layer.input_value(1).get_node().data, dtype=np.float64)
    kind = layer.get_type_name()
    if kind == "MatMul":
        values = values if layer.get_attributes()["transpose_b"] else values.T  # (outputs, inputs)
        return (values**2).sum(0)
    if kind == "GroupConvolution":  # (groups, outputs, inputs, height, width), inputs of each group by themselves
        return (values**2).sum((1, 3, 4)).reshape(-1)
    return (values**2).sum((0, 2, 3))


def noise_over_signal(values: np.ndarray, weights: np.ndarray) -> float:
    """values: (n, channels, ...), a layer's input; weights: (channels,), as `weights_of` gives them."""
    step = (values.max() - values.min()) / LEVELS
    if step == 0:
        return 0.0
    others = (0, *range(2, values.ndim))
    error = ((np.round(values / step) * step - values).astype(np.float64) ** 2).mean(others)
    signal = (values.astype(np.float64) ** 2).mean(others)
    return float((error * weights).sum() / max((signal * weights).sum(), 1e-30))


def module_names(graph: Any, net: nn.Module) -> dict[str, str]:
    """The name in `net` of each layer of an ov.Model that is not quantised yet; those that cannot be told are left out.

    The converter names them anew and multiplies batch norms into them, so each is known by its kernels' directions.
    """
    known = {
        name: directions(module.weight.detach().cpu())
        for name, module in net.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
    names = {}
    for layer in layers_of(graph):
        seen = directions(torch.from_numpy(np.array(layer.input_value(1).get_node().data, dtype=np.float32)))
        for name, kernels in known.items():
            if kernels.numel() == seen.numel() and torch.allclose(kernels.flatten(), seen.flatten(), atol=1e-3):
                names[layer.get_friendly_name()] = name
    return names


def directions(weight: Tensor) -> Tensor:
    """(outputs, ...) -> (outputs, rest): each output's weights without sign and of length 1."""
    flat = weight.float().flatten(1) if weight.dim() != 5 else weight.float().flatten(0, 1).flatten(1)
    return nn.functional.normalize(flat.abs(), dim=1)
