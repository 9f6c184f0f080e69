"""Batch norm, addition and ReLU of a network's units computed together, in training on CPUs (kernels/batch_norm.py).

The networks' files do not know of it. What a unit computes is recorded by torch.fx, with its modules as they are, and a
normalisation that only a ReLU uses, or an addition before a ReLU, is replaced together with it. The unit gets a class
with this `forward`, derived from its own, for training mode; parameters, buffers, their names, hooks and evaluation
are untouched, and copies and pickles of the unit have its own class.
"""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import fx, nn

from skipway.kernels.batch_norm import batch_norm_relu

Function = Callable[..., Any]


class ModulesAsTheyAre(fx.Tracer):
    """Records the method called `method` of a module, without looking into the modules that it calls."""

    def __init__(self, method: str) -> None:
        super().__init__()
        self.traced_func_name = method

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def fuse_units(net: nn.Module) -> int:
    """Fuse the units of `net` in place; returns the number of normalisations that are computed with their ReLU."""
    known: dict[tuple[type, str], type] = {}
    fused = 0
    for module in list(net.modules()):
        if any(type(child) is nn.BatchNorm2d for child in module.children()):
            fused += fuse(module, known)
    return fused


def fuse(module: nn.Module, known: dict[tuple[type, str], type]) -> int:
    """Fuse what `module` computes itself. `known`: classes already made, by class and code."""
    method = "stem" if hasattr(module, "stem") else "forward"  # of a network: the rest of it is in its units
    if not hasattr(type(module), method) or "is_recorded" in getattr(type(module), method).__code__.co_names:
        return 0  # a method that asks for it does something else while it is recorded
    training, module.training = module.training, True
    try:
        graph = ModulesAsTheyAre(method).trace(module)
    except (fx.proxy.TraceError, TypeError):  # it depends on values
        return 0
    finally:
        module.training = training
    fused = sum(fuse_relu(module, graph, node) for node in list(graph.nodes))
    if fused:
        kind, code = type(module), str(graph)
        if (kind, code) not in known:
            known[kind, code] = in_training(kind, method, type(fx.GraphModule(module, graph)).forward)
        module.__class__ = known[kind, code]
    return fused


def without_init(kind: type) -> Any:
    """An instance of `kind` that gets its attributes afterwards, for copies and pickles."""
    return object.__new__(kind)


def in_training(kind: type, method: str, fused: Function) -> type:
    """A class like `kind` whose method called `method` is `fused` in training mode."""
    plain: Function = getattr(kind, method)

    def chosen(self: nn.Module, *given: Any) -> Any:
        return fused(self, *given) if self.training else plain(self, *given)

    def reduced(self: nn.Module, _protocol: Any) -> tuple[Any, ...]:
        return without_init, (kind,), self.__dict__

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), {**names, method: chosen, "__reduce_ex__": reduced})


def fuse_relu(module: nn.Module, graph: fx.Graph, node: fx.Node) -> bool:
    """Replace `node` and what leads to it if it is the ReLU of a normalisation, or of a sum with one."""
    is_module = is_call_of(module, node, nn.ReLU)
    if not is_module and (node.op, node.target) != ("call_function", F.relu):
        return False
    before: Any = node.args[0]
    skip, replaced = None, [node]
    if isinstance(before, fx.Node) and (before.op, before.target) == ("call_method", "add_"):
        if len(before.users) > 1 or before.kwargs:
            return False
        replaced.append(before)
        before, skip = before.args
    between = []
    while is_call_of(module, before, nn.Identity) and len(before.users) == 1:
        replaced.append(before)
        between.append(before.target)
        before = before.args[0]
    if not is_call_of(module, before, nn.BatchNorm2d) or len(before.users) > 1:
        return False
    replaced.append(before)
    with graph.inserting_before(node):
        norm, *inner = (graph.create_node("get_attr", name) for name in (before.target, *reversed(between)))
        relu = graph.create_node("get_attr", str(node.target)) if is_module else None
        new = graph.call_function(batch_norm_relu, (norm, tuple(inner), relu, before.args[0], skip))
    node.replace_all_uses_with(new)
    for old in replaced:
        graph.erase_node(old)
    return True


def is_call_of(module: nn.Module, node: Any, kind: type) -> bool:
    """Whether `node` calls a module of `module` whose type is exactly `kind`."""
    return (
        isinstance(node, fx.Node) and node.op == "call_module" and type(module.get_submodule(str(node.target))) is kind
    )
