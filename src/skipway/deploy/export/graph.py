"""The network as a graph: what exports write and engines run. Fitted uint8 images in, outputs out.

Captured by torch.export, which records the operations of one evaluation-mode pass with a free batch size; the
normalisation is part of it, from its one implementation.
"""

import copy

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram

from skipway.data.preprocess import Preprocessing
from skipway.deploy.engines.base import EngineInput
from skipway.tasks import Task
from skipway.tasks.base import as_outputs

aten = torch.ops.aten
INPUT, PROBABILITIES = "images", "probabilities"


def output_names(task: Task) -> list[str]:
    """The outputs of an export, in order."""
    return [*task.output_names, *([PROBABILITIES] if task.activation else [])]


class WithPreprocessing(nn.Module):
    """A network that takes fitted images as they are: uint8 (N, C, size, size) -> outputs float32 (N, ...)."""

    def __init__(self, net: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.net, self.preprocessing = net, preprocessing

    def forward(self, images: Tensor) -> Tensor:
        return self.net(self.preprocessing.normalised(images))


class WithProbabilities(nn.Module):
    """A network that gives its outputs by name and, where the task has them, probabilities at its temperature."""

    def __init__(self, fed: WithPreprocessing, task: Task, temperature: float) -> None:
        super().__init__()
        self.fed, self.task, self.temperature = fed, task, temperature

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        outputs = as_outputs(self.fed(images))
        named = dict(zip(self.task.output_names, outputs, strict=True))
        if self.task.activation:
            named[PROBABILITIES] = self.task.class_probabilities(outputs[0], self.temperature)
        return named


def captured(trained: EngineInput) -> ExportedProgram:
    """The graph with any number of images a batch, on the CPU."""
    return recorded(preprocessing_graph(trained), trained)


def captured_with_probabilities(trained: EngineInput, task: Task, temperature: float) -> ExportedProgram:
    """Likewise with the outputs of `WithProbabilities`."""
    return recorded(WithProbabilities(preprocessing_graph(trained), task, temperature), trained)


def preprocessing_graph(trained: EngineInput) -> WithPreprocessing:
    """A copy of the network on the CPU, with the normalisation before it."""
    return WithPreprocessing(copy.deepcopy(trained.net).cpu().eval(), trained.preprocessing)


def recorded(module: nn.Module, trained: EngineInput) -> ExportedProgram:
    with torch.no_grad():
        if trained.single:
            return without_dtype_checks(torch.export.export(module, (trained.example(1).contiguous(),)))
        # two images, because torch.export takes a batch of one for a constant
        sizes = ({0: Dim("batch")},)
        return without_dtype_checks(
            torch.export.export(module, (trained.example(2).contiguous(),), dynamic_shapes=sizes)
        )


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
