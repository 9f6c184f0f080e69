"""int8 of a detector is judged by box AP; its boxes are computed in floating point; engines agree with eager."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapes import shapes
from torch import nn

import skipway
from skipway import bundle, models
from skipway.deploy import engines
from skipway.deploy.engines import openvino_cpu
from skipway.deploy.engines.base import EngineInput
from skipway.deploy.export import formats, quantize
from skipway.deploy.export.quantize import QuantizationResult
from skipway.deploy.export.sensitivity import behind_layers, layers_of, module_names, ranked
from skipway.deploy.sample_images import Samples, opened
from skipway.errors import SkipwayError
from skipway.tasks.detect.detections import Decoder
from skipway.trained import TrainedModel

from .conftest import CPU

Images = tuple[Samples, Samples]


@pytest.fixture(scope="module")
def trained(learnt: Path) -> EngineInput:
    return EngineInput.of(TrainedModel.load(learnt), CPU)


@pytest.fixture(scope="module")
def images(learnt: Path) -> Images:
    """Twelve that it has learnt to calibrate on, and all sixteen to judge on."""
    card, dataset = TrainedModel.load(learnt).card, shapes()
    return opened(dataset, "train", np.arange(12), card), opened(dataset, "train", np.arange(16), card)


@pytest.fixture(scope="module")
def graph(trained: EngineInput) -> Any:
    return formats.openvino_graph(trained)


def gate(trained: EngineInput, images: Images, max_drop: float, say: Callable[[str], None]) -> QuantizationResult:
    def made(graph: Any) -> engines.Engine:
        return openvino_cpu.engine_of(graph, trained, {"precision": "int8", "batch": 8, "streams": 1}, "int8")

    return quantize.quantize(trained, images, max_drop, engines.build("eager", trained), made, say)[1]


def test_a_detector_that_loses_little_box_ap_is_accepted(trained: EngineInput, images: Images) -> None:
    said: list[str] = []
    found = gate(trained, images, 5, said.append)
    metrics = trained.task.metrics()
    metrics.update(engines.build("eager", trained).outputs(*images[1].inputs), images[1].targets)
    assert found.reference == pytest.approx(metrics.compute()["ap"], abs=1e-12)
    assert found.reference > 0.5
    assert found.accepted and found.drop <= 5
    assert found.layers == sum(isinstance(module, nn.Conv2d) for module in trained.net.modules())


def test_a_detector_that_loses_box_ap_in_every_mixture_is_refused(
    trained: EngineInput, images: Images, graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the boxes are all a little too far to the right, classes and scores are as before, and AP is not."""
    decode = Decoder.batch

    def shifted(self: Decoder, outputs: Any, sizes: Any) -> list:
        found = decode(self, outputs, sizes)
        return [one._replace(boxes=one.boxes + 6) for one in found] if whole[0] else found

    whole = [False]
    monkeypatch.setattr(Decoder, "batch", shifted)
    monkeypatch.setattr(quantize, "in_int8", lambda *given: whole.__setitem__(0, True) or graph)
    monkeypatch.setattr(
        quantize, "ranked", lambda graph, images: [("one",), ("another",)]
    )  # so that there are two tries
    with pytest.raises(SkipwayError, match=r"int8 refused: .* points lost, at most 0.5 allowed"):
        gate(trained, images, 0.5, lambda line: None)


def test_what_makes_boxes_of_the_last_layers_stays_in_floating_point(
    trained: EngineInput, images: Images, graph: Any
) -> None:
    last = behind_layers(graph)
    kinds = {op.get_friendly_name(): op.get_type_name() for op in graph.get_ordered_ops()}
    assert {"TopK", "Sqrt", "GatherElements"} <= {kinds[name] for name in last}
    assert not {kinds[name] for name in last} & {"Convolution", "MaxPool", "GroupNormalization"}
    found = quantize.in_int8(graph, images[0].inputs[0], last)
    rounded = [op for op in found.get_ordered_ops() if op.get_type_name() == "FakeQuantize"]
    readers = {place.get_node().get_type_name() for op in rounded for place in op.output(0).get_target_inputs()}
    assert "Convolution" in readers
    assert not readers & {"Sigmoid", "Sqrt", "TopK", "Subtract", "Concat", "Reshape"}


def test_a_head_that_reads_every_level_of_the_pyramid_is_one_layer(
    trained: EngineInput, images: Images, graph: Any
) -> None:
    order, names = ranked(graph, images[0].inputs[0][:2]), module_names(graph, trained.net)
    uses = {names[one[0]]: len(one) for one in order}
    assert len(uses) == len(order), "each by another name"
    assert sum(uses.values()) == len(layers_of(graph))
    levels = len(trained.net.strides)  # type: ignore[arg-type]
    assert {count for name, count in uses.items() if name.startswith("head.")} == {levels}
    assert {count for name, count in uses.items() if not name.startswith("head.")} == {1}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_folded_detector_finds_the_same_objects(trained: EngineInput, images: Images, precision: str) -> None:
    expected = engines.build("eager", trained).outputs(*images[1].inputs)
    found = engines.build("folded", trained, {"precision": precision}).outputs(*images[1].inputs)
    parity = trained.task.parity(expected, found, precision)
    assert parity.agrees, parity.summary()
    assert parity.objects >= 16  # type: ignore[attr-defined]


def test_a_network_of_two_stages_has_no_graph_and_says_so(learnt: Path, tmp_path: Path) -> None:
    card = bundle.read_card(learnt)
    network = {**card.network, "name": "fasterrcnn_resnet18d_x0_5"}
    (tmp_path / "run").mkdir()
    bundle.write(tmp_path / "run", models.create_dense(**network).state_dict(), replace(card, network=network))
    with pytest.raises(SkipwayError, match="depend on what is found in an image") as refused:
        skipway.export(tmp_path / "run", "onnx", tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()
