"""The network as a graph: what exports write and engines run. The inputs of the task in, outputs out.

Captured by torch.export, which records the operations of one evaluation-mode pass with a free batch size; where the
inputs are fitted images, the normalisation is part of it, from its one implementation.
"""

import copy

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, ShapesCollection

from skipway.deploy.engines.base import EngineInput, EngineMissingError
from skipway.tasks import Task
from skipway.tasks.base import as_outputs

aten = torch.ops.aten
PROBABILITIES = "probabilities"


def output_names(task: Task) -> list[str]:
    """The outputs of an export, in order."""
    return [*task.output_names, *([PROBABILITIES] if task.activation else [])]


class WithProbabilities(nn.Module):
    """A network that gives its outputs by name and, where the task has them, probabilities at its temperature."""

    def __init__(self, deployed: nn.Module, task: Task, temperature: float) -> None:
        super().__init__()
        self.deployed, self.task, self.temperature = deployed, task, temperature

    def forward(self, *inputs: Tensor) -> dict[str, Tensor]:
        outputs = as_outputs(self.deployed(*inputs))
        named = dict(zip(self.task.output_names, outputs, strict=True))
        if self.task.activation:
            named[PROBABILITIES] = self.task.class_probabilities(outputs[0], self.temperature)
        return named


def captured(trained: EngineInput) -> ExportedProgram:
    """The graph with any number of images a batch, on the CPU."""
    return recorded(deployed_copy(trained), trained)


def captured_with_probabilities(trained: EngineInput, temperature: float) -> ExportedProgram:
    """Likewise with the outputs of `WithProbabilities`."""
    return recorded(WithProbabilities(deployed_copy(trained), trained.task, temperature), trained)


def deployed_copy(trained: EngineInput) -> nn.Module:
    """What the task deploys, of a copy of the network on the CPU."""
    return trained.task.deployed(copy.deepcopy(trained.net).cpu(), trained.preprocessing).eval()


def recorded(module: nn.Module, trained: EngineInput) -> ExportedProgram:
    """The graph of `module`. Raises EngineMissingError for a network whose operations depend on the values of an image,
    as on the boxes that the first stage of a two-stage detector found."""
    from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode  # slow to import

    # two images, because torch.export takes a batch of one for a constant
    examples = tuple(given.contiguous() for given in trained.example(1 if trained.single else 2))
    free, batch = ShapesCollection(), Dim("batch")
    for given in () if trained.single else examples:
        free[given] = {0: batch}
    try:
        with torch.no_grad():
            return without_dtype_checks(torch.export.export(module, examples, dynamic_shapes=free))
    except GuardOnDataDependentSymNode:
        raise EngineMissingError(
            "this network's operations depend on what is found in an image, so that there is no graph of it for "
            "exports and other engines: use eager, or for boxes a network with one stage (fcos_*, retinanet_*)"
        ) from None


def without_dtype_checks(program: ExportedProgram) -> ExportedProgram:
    """`program` without the checks that a conversion's input has the type of the capture, which fail in bfloat16."""
    graph = program.graph_module.graph
    for check in graph.find_nodes(op="call_function", target=aten._assert_tensor_metadata.default):
        graph.erase_node(check)
    program.graph_module.recompile()
    return program


def fold_batch_norm(program: ExportedProgram) -> fx.GraphModule:
    """`program` as a module in which batch norms that follow a convolution have gone into its weights.

    W' = W g / sqrt(v + e), b' = (b - m) g / sqrt(v + e) + beta (Jacob 2018, arXiv:1712.05877, sec. 3.2), computed in
    float64. A norm stays where the convolution's output is used elsewhere too, as before a pre-activation unit.
    """
    module = program.module()
    assert isinstance(module, fx.GraphModule)
    for norm in module.graph.find_nodes(op="call_function", target=aten.batch_norm.default):
        conv = norm.args[0]
        if conv.target is aten.conv2d.default and len(conv.users) == 1 and not shared(conv):
            fold_pair(module, conv, norm)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def shared(conv: fx.Node) -> bool:
    """Whether another convolution has the same weights."""
    weight = conv.args[1]
    assert isinstance(weight, fx.Node)
    return len(weight.users) > 1


def fold_pair(module: fx.GraphModule, conv: fx.Node, norm: fx.Node) -> None:
    """Give `conv` weights and a bias that do what `norm` did after it, and take `norm` out."""

    def value(node: object, otherwise: Tensor) -> Tensor:
        if node is None:
            return otherwise
        assert isinstance(node, fx.Node)
        return attribute(module, str(node.target)).detach().double()

    weight = value(conv.args[1], torch.empty(0))
    ones, zeros = torch.ones(len(weight), dtype=torch.float64), torch.zeros(len(weight), dtype=torch.float64)
    gain, shift = value(norm.args[1], ones), value(norm.args[2], zeros)
    mean, variance = value(norm.args[3], zeros), value(norm.args[4], ones)
    epsilon = norm.args[7]
    assert isinstance(epsilon, float)
    scale = gain / (variance + epsilon).sqrt()
    bias = (value(conv.args[2] if len(conv.args) > 2 else None, zeros) - mean) * scale + shift
    folded = {f"{conv.name}_weight": weight * scale.view(-1, 1, 1, 1), f"{conv.name}_bias": bias}
    with module.graph.inserting_before(conv):
        nodes = []
        for name, tensor in folded.items():
            module.register_buffer(name, tensor.float())
            nodes.append(module.graph.get_attr(name))
    conv.args = (conv.args[0], *nodes, *conv.args[3:])
    norm.replace_all_uses_with(conv)
    module.graph.erase_node(norm)


def attribute(module: nn.Module, target: str) -> Tensor:
    """The parameter or buffer at a dotted name."""
    owner, _, name = target.rpartition(".")
    found = getattr(module.get_submodule(owner), name)
    assert isinstance(found, Tensor)
    return found
