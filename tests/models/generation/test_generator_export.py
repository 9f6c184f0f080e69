"""Generators as graphs with a free batch size: the same velocities in torch.export, ONNX Runtime and OpenVINO."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from twins import shaken

from skipway.models.generation.unet import ADM, DDPM, VelocityUNet

CASES = {  # form, classes, size of the images, folding
    "classes": (ADM, 3, (7, 10), 2),
    "no classes": (DDPM, 0, (9, 8), 1),
}
OPSET = 20
Run = Callable[..., np.ndarray]


class Exported(NamedTuple):
    net: VelocityUNet
    size: tuple[int, int]
    program: ExportedProgram
    folder: Path

    def inputs(self, number: int) -> tuple[Tensor, ...]:
        given = torch.randn(number, 3, *self.size), torch.rand(number)
        return (*given, torch.arange(number) % 4) if self.net.classes else given


@pytest.fixture(scope="module", params=CASES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    form, classes, size, fold = CASES[request.param]
    torch.manual_seed(0)
    net = shaken(VelocityUNet(form, (8, 16), 1, (), 8, classes, 3, fold=fold)).eval()
    made = Exported(net, size, None, tmp_path_factory.mktemp("graph"))
    given = made.inputs(2)
    with torch.no_grad():
        program = torch.export.export(net, given, dynamic_shapes=tuple({0: Dim("batch")} for _ in given))
    return made._replace(program=program)


def torch_export(made: Exported) -> Run:
    file = made.folder / "model.pt2"
    torch.export.save(made.program, file)
    module = torch.export.load(file).module()
    return lambda *given: module(*given).detach().numpy()


def onnx_runtime(made: Exported) -> Run:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    file = made.folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of what it changes in itself
        torch.onnx.export(made.program, dynamo=True, opset_version=OPSET, verbose=False).save(file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda *given: session.run(None, {name: x.numpy() for name, x in zip(names, given, strict=True)})[0]


def openvino(made: Exported) -> Run:
    ov = pytest.importorskip("openvino")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = ov.convert_model(made.program)
    compiled = ov.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda *given: np.array(next(iter(compiled([x.numpy() for x in given]).values())))


@pytest.mark.parametrize("engine", [torch_export, onnx_runtime, openvino])
def test_velocities_are_those_of_eager_at_any_batch(exported: Exported, engine: Callable[[Exported], Run]) -> None:
    run = engine(exported)
    for number in (1, 3):
        given = exported.inputs(number)
        with torch.no_grad():
            eager = exported.net(*given)
        found = torch.from_numpy(run(*given))
        torch.testing.assert_close(found, eager, rtol=1e-4, atol=1e-4 * float(eager.abs().max()))
