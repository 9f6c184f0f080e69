"""The graph in the forms that other programs take: ONNX, OpenVINO, torch.export."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from skipway.deploy.engines.base import EngineInput, EngineMissingError
from skipway.deploy.export.graph import captured, captured_with_probabilities, output_names
from skipway.deploy.export.group_norm import decompose_group_norms
from skipway.deploy.export.sessions import ONNX_FILE, OPENVINO_FILE, Session, onnx_session, openvino_session
from skipway.deploy.openvino_core import core
from skipway.tasks import Task

TORCH_FILE = "model.pt2"
CLASSES_NOTE = "skipway_classes"  # the key of the class names among the notes
ACTIVATIONS: dict[str, Callable[[Any, Any], Any]] = {  # OpenVINO's operations by torch's names
    "softmax": lambda ops, scores: ops.softmax(scores, 1),
    "sigmoid": lambda ops, scores: ops.sigmoid(scores),
}
OPSET = 20  # ONNX 1.15, which every runtime of the last years reads


@dataclass(frozen=True)
class Exportable:
    """What an export is made of: the network, what turns its scores into probabilities, and the file's metadata."""

    trained: EngineInput
    temperature: float
    notes: Mapping[str, str]

    @property
    def task(self) -> Task:
        """The network's."""
        return self.trained.task

    def captured(self) -> ExportedProgram:
        """The graph with both outputs."""
        with quiet():  # torchvision's suppression is registered by a function that torch calls deprecated
            return captured_with_probabilities(self.trained, self.temperature)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No notices from exporters and compilers: they warn of what they change in themselves and print progress."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def onnx_model(program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]) -> Any:
    """The ONNX model (a protobuf) of a graph, with names for its inputs and outputs. Raises EngineMissingError without
    onnx and onnxscript."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as fault:
        raise EngineMissingError(f"{fault.name} is not installed: pip install 'skipway[deploy]'") from None
    with quiet():
        found = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, input_names=list(inputs), output_names=list(outputs)
        )
    assert found is not None
    return found.model_proto


def onnx_bytes(trained: EngineInput) -> bytes:
    """A whole ONNX model that gives the network's outputs."""
    task = trained.task
    content = onnx_model(captured(trained), task.input_names, task.output_names).SerializeToString()
    assert isinstance(content, bytes)
    return content


def openvino_graph(trained: EngineInput) -> Any:
    """The ov.Model of the network: its inputs in, with a free batch, its outputs out."""
    import openvino

    with quiet():
        graph = openvino.convert_model(captured(trained))
    graph.reshape({place: [-1, *given.shape[1:]] for place, given in enumerate(trained.example(1))})
    for place, name in enumerate(trained.task.input_names):
        graph.input(place).set_names({name})
    decompose_group_norms(graph)
    return graph


def with_probabilities(graph: Any, task: Task, temperature: float) -> Any:
    """`graph`, quantised or not, its outputs named and, where the task has them, probabilities behind them."""
    import openvino
    from openvino import opset13 as ops

    if task.activation:
        before = graph.output(0).get_node().input_value(0)
        calibrated = ops.divide(before, ops.constant([temperature], dtype=openvino.Type.f32))
        graph.add_outputs([ACTIVATIONS[task.activation](ops, calibrated).output(0)])
    for place, name in enumerate(output_names(task)):
        graph.output(place).set_names({name})
    return graph


def save_openvino(graph: Any, file: Path, half: bool = False) -> None:
    """`graph` at `file` (.xml, its weights in a .bin beside it), whole or not at all; `half` stores float16 weights."""
    import openvino

    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        made = Path(folder, file.name)
        openvino.save_model(graph, made, compress_to_fp16=half)
        made.with_suffix(".bin").replace(file.with_suffix(".bin"))
        made.replace(file)


NamedRunner = Callable[..., dict[str, Tensor]]  # the tensors of `Task.input_names` -> outputs by name


@dataclass(frozen=True)
class Form:
    """A format: `write` puts the network into a folder, `runner` gives what its own runtime makes of what is there.

    A runner takes the inputs (n, ...), any n, and gives the outputs by name, each float32 with n first.
    use: how, in a few words; noted: where the classes are in the file.
    """

    write: Callable[[Exportable, Path], None]
    runner: Callable[[Path], NamedRunner]
    use: str
    noted: str


def write_onnx(wanted: Exportable, folder: Path) -> None:
    model = onnx_model(wanted.captured(), wanted.task.input_names, output_names(wanted.task))
    for key, value in wanted.notes.items():
        model.metadata_props.add(key=key, value=value)
    (folder / ONNX_FILE).write_bytes(model.SerializeToString())


def require_onnxruntime() -> Any:
    """The module. Raises EngineMissingError, naming the extra."""
    try:
        import onnxruntime
    except ImportError:
        raise EngineMissingError("onnxruntime is not installed: pip install 'skipway[deploy]'") from None
    return onnxruntime


def run_onnx(folder: Path) -> NamedRunner:
    require_onnxruntime()
    return on_tensors(onnx_session(folder))


def on_tensors(session: Session) -> NamedRunner:
    """A session as a runner."""

    def run(*inputs: Tensor) -> dict[str, Tensor]:
        found = session.run(*(given.contiguous().numpy() for given in inputs))
        return {name: torch.from_numpy(output) for name, output in found.items()}

    return run


def write_openvino(wanted: Exportable, folder: Path) -> None:
    graph = through_onnx(wanted) if wanted.trained.single else openvino_graph(wanted.trained)
    finish_openvino(graph, wanted, folder)


def through_onnx(wanted: Exportable) -> Any:
    """The ov.Model of a graph with suppression, which OpenVINO reads from ONNX but not from torch.export."""
    model = onnx_model(wanted.captured(), wanted.task.input_names, output_names(wanted.task))
    return core().read_model(model.SerializeToString())


def finish_openvino(graph: Any, wanted: Exportable, folder: Path) -> None:
    """Save `graph` with probabilities, where the task has them, and the notes in its runtime information."""
    graph = with_probabilities(graph, wanted.task, wanted.temperature)
    for key, value in wanted.notes.items():
        graph.set_rt_info(value, key)
    save_openvino(graph, folder / OPENVINO_FILE)


def run_openvino(folder: Path) -> NamedRunner:
    return on_tensors(openvino_session(folder))


def write_torch(wanted: Exportable, folder: Path) -> None:
    torch.export.save(wanted.captured(), folder / TORCH_FILE, extra_files=dict(wanted.notes))


def run_torch(folder: Path) -> NamedRunner:
    module = torch.export.load(folder / TORCH_FILE).module()

    def run(*inputs: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            found: dict[str, Tensor] = module(*(given.contiguous() for given in inputs))
        return found

    return run


FORMATS: dict[str, Form] = {
    "onnx": Form(
        write_onnx,
        run_onnx,
        f"`onnxruntime.InferenceSession('{ONNX_FILE}')`",
        f"the model's metadata (`session.get_modelmeta().custom_metadata_map['{CLASSES_NOTE}']`, JSON)",
    ),
    "openvino": Form(
        write_openvino,
        run_openvino,
        f"`openvino.Core().compile_model('{OPENVINO_FILE}', 'CPU')`",
        f"the model's runtime information (`model.get_rt_info('{CLASSES_NOTE}').value`, JSON)",
    ),
    "torch": Form(
        write_torch,
        run_torch,
        f"`torch.export.load('{TORCH_FILE}').module()`",
        f"the file's extra_files (`{CLASSES_NOTE}`, JSON)",
    ),
}
