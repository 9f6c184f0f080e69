"""Segmenters as graphs: the same scores in ONNX Runtime and OpenVINO as in eager."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.export import Dim
from twins import shaken

from skipway.deploy.export.formats import OPSET, quiet
from skipway.deploy.openvino_core import core
from skipway.models import create_segmenter

CASES = {
    "unet_resnet18d_x0_5": (96, 160),
    "unet_resnet18d_x0_5_light": (97, 131),
    "deeplabv3_resnet18d_x0_5": (65, 96),
}
Run = Callable[[Tensor], np.ndarray]


@pytest.fixture(scope="module", params=CASES)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple]:
    """A network, its input's size, and its ONNX file."""
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    size = CASES[request.param]
    net = shaken(create_segmenter(request.param, 4)).eval()
    file = tmp_path_factory.mktemp("graph") / "model.onnx"
    with torch.no_grad(), quiet():
        program = torch.export.export(net, (torch.randn(2, 3, *size),), dynamic_shapes=({0: Dim("batch")},))
        torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False).save(file)
    return net, size, file


def onnx_runtime(file: Path) -> Run:
    session = pytest.importorskip("onnxruntime").InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]


def openvino(file: Path) -> Run:
    pytest.importorskip("openvino")
    compiled = core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda x: next(iter(compiled(x.numpy()).values()))


@pytest.mark.parametrize("engine", [onnx_runtime, openvino])
def test_engines_score_as_eager_does_at_any_batch(exported: tuple, engine: Callable[[Path], Run]) -> None:
    net, size, file = exported
    run = engine(file)
    for number in (1, 3):
        x = torch.randn(number, 3, *size)
        with torch.no_grad():
            eager = net(x)
        found = torch.from_numpy(np.array(run(x)))
        torch.testing.assert_close(found, eager, rtol=1e-3, atol=1e-4 * float(eager.abs().max()))
