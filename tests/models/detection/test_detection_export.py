"""Detectors with dense heads as graphs: the same candidates in ONNX Runtime and OpenVINO as in eager."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from models.detection.theirs import images, with_distinct_scores
from torch import Tensor
from torch.export import Dim
from torchvision.ops import batched_nms
from twins import shaken

from skipway.deploy.export.formats import OPSET, quiet
from skipway.deploy.openvino_core import core
from skipway.models import create_detector
from skipway.models.detection.base import Detections

SIZES = {"landscape": (96, 160), "portrait": (160, 96)}
CASES = [
    ("fcos_resnet18d_x0_5_light", "landscape"),
    ("fcos_resnet18d_x0_5_light", "portrait"),
    ("retinanet_resnet18d_x0_5", "landscape"),
]
Run = Callable[[Tensor], list[np.ndarray]]


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple]:
    """A network, its input's size, and its ONNX file."""
    pytest.importorskip("onnxscript")
    name, size = request.param
    torch.manual_seed(0)
    x = images(2, *SIZES[size])
    net = with_distinct_scores(shaken(create_detector(name, 3)).eval(), x)
    file = tmp_path_factory.mktemp("graph") / "model.onnx"
    with torch.no_grad(), quiet():
        program = torch.export.export(net, (x,), dynamic_shapes=({0: Dim("batch")},))
        torch.onnx.export(program, dynamo=True, opset_version=OPSET, verbose=False).save(file)
    return net, SIZES[size], file


def onnx_runtime(file: Path) -> Run:
    session = pytest.importorskip("onnxruntime").InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda x: session.run(None, {session.get_inputs()[0].name: x.numpy()})


def openvino(file: Path) -> Run:
    pytest.importorskip("openvino")
    compiled = core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda x: list(compiled(x.numpy()).values())


@pytest.mark.parametrize("engine", [onnx_runtime, openvino])
def test_engines_find_what_eager_finds_at_any_batch(exported: tuple, engine: Callable[[Path], Run]) -> None:
    net, size, file = exported
    run = engine(file)
    for number in (1, 2, 5):
        x = images(number, *size)
        with torch.no_grad():
            eager = net(x)
        found = Detections(*(torch.from_numpy(np.array(part)) for part in run(x)))
        torch.testing.assert_close(found.scores, eager.scores, rtol=1e-4, atol=1e-5)
        for i in range(number):
            ours, theirs = (suppressed(each, i, net.nms_threshold) for each in (eager, found))
            torch.testing.assert_close(theirs.boxes, ours.boxes, rtol=1e-4, atol=1e-2)
            assert torch.equal(theirs.labels, ours.labels)


def suppressed(detections: Detections, image: int, threshold: float) -> Detections:
    """The twenty best detections of an image after non-maximum suppression."""
    boxes, scores, labels = (part[image] for part in detections)
    keep = batched_nms(boxes, scores, labels, threshold)[:20]
    return Detections(boxes[keep], scores[keep], labels[keep])
