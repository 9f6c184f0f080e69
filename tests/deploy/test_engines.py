"""Every engine says what eager says, of several families; one that cannot run says why."""

import sys

import pytest
import torch
from torch import nn
from twins import shaken

from skipway.deploy import engines
from skipway.deploy.engines.base import EngineInput, pad_batch
from skipway.deploy.export.graph import aten, captured, fold_batch_norm
from skipway.errors import UnknownNameError
from skipway.hardware import decide
from skipway.models import build
from skipway.tasks import Classify
from skipway.tasks.classify.parity import check_parity

from .conftest import CLASSES, SHOWN, as_trained, random_images

TASK = Classify(tuple(CLASSES))
FLOAT32 = {"precision": "float32"}
CASES = [
    ("openvino", "resnet20", {**FLOAT32, "batch": 3, "streams": 2}, 1e-4),
    ("openvino", "googlenet", {**FLOAT32, "batch": 4, "streams": 1}, 1e-4),
    ("onnxruntime", "preresnet20", {"batch": 4}, 1e-4),
    ("folded", "googlenet", FLOAT32, 1e-4),
    ("folded", "densenet40_12", FLOAT32, 1e-4),
    ("folded", "resnet20", {"precision": "bfloat16"}, 0.1),
]


def reference(trained: EngineInput, images: torch.Tensor) -> torch.Tensor:
    """The network called by hand on all images at once."""
    with torch.inference_mode():
        return trained.net(trained.preprocessing.normalised(images))


@pytest.mark.parametrize(("engine", "name", "options", "allowed"), CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_an_engine_gives_the_networks_probabilities(engine: str, name: str, options: dict, allowed: float) -> None:
    trained = as_trained(shaken(build(name, classes=8)))
    images = random_images(7)
    scores = engines.build(engine, trained, options).scores(images)
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores.softmax(1), reference(trained, images).softmax(1), atol=allowed, rtol=0)


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8)]
    return shaken(nn.Sequential(*layers))


def test_compile_gives_the_networks_probabilities() -> None:
    trained = as_trained(small_net(), goal="latency")
    try:
        engine = engines.build("compile", trained, FLOAT32)
    except engines.EngineMissingError as fault:
        pytest.skip(str(fault))
    images = random_images(2)
    torch.testing.assert_close(engine.scores(images), reference(trained, images), atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a CUDA device")
def test_cuda_graphs_give_the_networks_probabilities() -> None:
    trained = EngineInput(small_net().cuda().eval(), TASK, SHOWN, decide("cuda"))
    scores = engines.build("cuda-graphs", trained, FLOAT32).scores(random_images(7))
    torch.testing.assert_close(scores, engines.build("eager", trained).scores(random_images(7)), atol=1e-3, rtol=1e-3)


def test_an_engine_that_cannot_run_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    trained = as_trained(small_net())
    if not torch.cuda.is_available():
        with pytest.raises(engines.EngineMissingError, match="needs a CUDA device"):
            engines.build("cuda-graphs", trained)
    with pytest.raises(engines.EngineMissingError, match="skipway export"):
        engines.build("int8", trained)
    for name in ("openvino", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(engines.EngineMissingError, match="pip install 'skipway\\[deploy\\]'"):
            engines.build(name, trained)
    with pytest.raises(UnknownNameError, match="did you mean 'openvino'"):
        engines.build("openvin", trained)


def test_folding_takes_every_norm_behind_a_convolution_and_no_other() -> None:
    """A pre-activation unit's first norm follows a sum, and its second follows the first convolution."""
    for name, left in (("resnet20", 0), ("preresnet20", 9)):
        trained = as_trained(shaken(build(name, classes=8)))
        norms = fold_batch_norm(captured(trained)).graph.find_nodes(op="call_function", target=aten.batch_norm.default)
        assert len(list(norms)) == left


def test_a_convolution_used_twice_keeps_its_norm() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.one, self.two = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.BatchNorm2d(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (self.one(self.conv(x)) + self.two(self.conv(x + 1))).mean((2, 3))

    trained = as_trained(shaken(Twice()))
    images = random_images(3)
    folded = fold_batch_norm(captured(trained))
    torch.testing.assert_close(folded(images).detach(), reference(trained, images), atol=1e-4, rtol=1e-4)


def test_a_batch_is_filled_with_zeros() -> None:
    images = random_images(2)
    whole = pad_batch(images, 5)
    assert whole.shape == (5, 3, 32, 32)
    assert torch.equal(whole[:2], images)
    assert not whole[2:].any()


def test_agreement_counts_what_changed_clearly_and_what_was_close() -> None:
    eager = torch.tensor([[4.0, 0, 0, 0, 0, 0, 0, 0], [1.001, 1, 0, 0, 0, 0, 0, 0], [0, 3.0, 0, 0, 0, 0, 0, 0]])
    other = eager.clone()
    other[1] = torch.tensor([1, 1.001, 0, 0, 0, 0, 0, 0])
    close = check_parity(eager, other, TASK, "float32")
    assert (close.agrees, close.close, close.changed) == (True, 1, 0)
    other[0] = other[0].roll(1)
    clear = check_parity(eager, other, TASK, "bfloat16")
    assert (clear.agrees, clear.close, clear.changed) == (False, 1, 1)
    expected = (eager.softmax(1) - other.softmax(1)).abs().max().item()
    assert clear.largest == pytest.approx(expected)
    assert not check_parity(eager, other * torch.nan, TASK, "bfloat16").agrees
