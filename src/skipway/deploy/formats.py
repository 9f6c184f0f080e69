"""The graph in the forms that other programs take: ONNX, OpenVINO, torch.export."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skipway.deploy.contract import EngineMissingError, Trained
from skipway.deploy.graph import INPUT, OUTPUT, captured
from skipway.deploy.openvino_core import core

ONNX_FILE, OPENVINO_FILE, TORCH_FILE = "model.onnx", "model.xml", "model.pt2"
OPSET = 20  # ONNX 1.15, which every runtime of the last years reads


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


def onnx_bytes(trained: Trained, notes: Mapping[str, str] | None = None) -> bytes:
    """A whole ONNX model, `notes` among its metadata. Raises EngineMissingError without onnx and onnxscript."""
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as fault:
        raise EngineMissingError(f"{fault.name} is not installed: pip install 'skipway[deploy]'") from None
    with quiet():
        program = torch.onnx.export(
            captured(trained), dynamo=True, opset_version=OPSET, input_names=[INPUT], output_names=[OUTPUT]
        )
    assert program is not None
    model = program.model_proto
    for key, value in (notes or {}).items():
        model.metadata_props.add(key=key, value=value)
    content = model.SerializeToString()
    assert isinstance(content, bytes)
    return content


def openvino_graph(trained: Trained) -> Any:
    """The ov.Model of the network: uint8 (?, C, size, size) in, scores out."""
    import openvino

    with quiet():
        graph = openvino.convert_model(captured(trained))
    graph.reshape([-1, *trained.example(1).shape[1:]])
    graph.input(0).set_names({INPUT})
    graph.output(0).set_names({OUTPUT})
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


@dataclass(frozen=True)
class Form:
    """A format: `write` puts the network into a folder, `runner` gives what its own runtime makes of what is there.

    A runner takes uint8 (n, C, size, size), any n, and gives scores (n, outputs) in float32. use: how, in a few words.
    """

    write: Callable[[Trained, Path, Mapping[str, str]], None]
    runner: Callable[[Path], Callable[[Tensor], Tensor]]
    use: str


def write_onnx(trained: Trained, folder: Path, notes: Mapping[str, str]) -> None:
    (folder / ONNX_FILE).write_bytes(onnx_bytes(trained, notes))


def require_onnxruntime() -> Any:
    """The module. Raises EngineMissingError, naming the extra."""
    try:
        import onnxruntime
    except ImportError:
        raise EngineMissingError("onnxruntime is not installed: pip install 'skipway[deploy]'") from None
    return onnxruntime


def run_onnx(folder: Path) -> Callable[[Tensor], Tensor]:
    onnxruntime = require_onnxruntime()
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(folder / ONNX_FILE, settings, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run([OUTPUT], {INPUT: images.contiguous().numpy()})[0])


def write_openvino(trained: Trained, folder: Path, notes: Mapping[str, str]) -> None:
    save_openvino(noted(openvino_graph(trained), notes), folder / OPENVINO_FILE)


def noted(graph: Any, notes: Mapping[str, str]) -> Any:
    """`graph` with `notes` in its runtime information."""
    for key, value in notes.items():
        graph.set_rt_info(value, key)
    return graph


def run_openvino(folder: Path) -> Callable[[Tensor], Tensor]:
    # in float32, as eager is: by itself OpenVINO takes bfloat16 where the processor has it
    compiled = core().compile_model(folder / OPENVINO_FILE, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: torch.from_numpy(compiled([images.contiguous().numpy()])[0].copy())


def write_torch(trained: Trained, folder: Path, notes: Mapping[str, str]) -> None:
    torch.export.save(captured(trained), folder / TORCH_FILE, extra_files=dict(notes))


def run_torch(folder: Path) -> Callable[[Tensor], Tensor]:
    module = torch.export.load(folder / TORCH_FILE).module()

    def run(images: Tensor) -> Tensor:
        with torch.no_grad():
            return module(images.contiguous())

    return run


FORMATS: dict[str, Form] = {
    "onnx": Form(write_onnx, run_onnx, f"`onnxruntime.InferenceSession('{ONNX_FILE}')`"),
    "openvino": Form(write_openvino, run_openvino, f"`openvino.Core().compile_model('{OPENVINO_FILE}', 'CPU')`"),
    "torch": Form(write_torch, run_torch, f"`torch.export.load('{TORCH_FILE}').module()`"),
}
