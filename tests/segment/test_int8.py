"""int8 of a segmenter is judged by mean IoU."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from openvino import opset13 as ops
from shapes import labelled_shapes

from skipway.data.targets import map_labels
from skipway.deploy import engines
from skipway.deploy.engines import openvino_cpu
from skipway.deploy.engines.base import EngineInput
from skipway.deploy.export import formats, quantize
from skipway.deploy.export.quantize import QuantizationResult
from skipway.deploy.sample_images import Samples, opened
from skipway.errors import SkipwayError
from skipway.tasks.segment.confusion import miou
from skipway.tasks.segment.metrics import SegmentMetrics
from skipway.trained import TrainedModel

from .conftest import CPU

Images = tuple[Samples, Samples]


@pytest.fixture(scope="module")
def trained(learnt: Path) -> EngineInput:
    return EngineInput.of(TrainedModel.load(learnt), CPU)


@pytest.fixture(scope="module")
def images(learnt: Path) -> Images:
    card, dataset = TrainedModel.load(learnt).card, labelled_shapes()
    return opened(dataset, "train", np.arange(12), card), opened(dataset, "train", np.arange(16), card)


def gate(trained: EngineInput, images: Images, max_drop: float) -> QuantizationResult:
    def made(graph: Any) -> engines.Engine:
        return openvino_cpu.engine_of(graph, trained, {"precision": "int8", "batch": 8, "streams": 1}, "int8")

    return quantize.quantize(trained, images, max_drop, engines.build("eager", trained), made)[1]


def confusion_of(scores: torch.Tensor, images: Samples) -> np.ndarray:
    """(classes, classes), true by predicted, of pixels that have a class."""
    labels = images.targets.labels.numpy()  # type: ignore[union-attr]
    found, valid = scores.argmax(1).numpy(), labels != 255
    table = np.zeros((scores.shape[1],) * 2, np.int64)
    np.add.at(table, (labels[valid], found[valid]), 1)
    return table


def test_a_segmenter_that_loses_little_mean_iou_is_accepted(trained: EngineInput, images: Images) -> None:
    found = gate(trained, images, 3)
    table = confusion_of(engines.build("eager", trained).scores(*images[1].inputs), images[1])
    assert found.reference == pytest.approx(miou(table), abs=1e-12)
    ious = table.diagonal() / (table.sum(0) + table.sum(1) - table.diagonal())
    assert found.reference == pytest.approx(ious.mean(), abs=1e-12)
    assert found.reference > 0.6
    assert found.accepted and found.drop <= 3


def test_a_segmenter_that_loses_mean_iou_in_every_mixture_is_refused(
    trained: EngineInput, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = formats.openvino_graph(trained)
    constant = (
        next(op for op in reversed(graph.get_ordered_ops()) if op.get_type_name() == "Convolution")
        .input_value(1)
        .get_node()
    )
    exchanged = constant.data[::-1].copy()  # the weights of the first class are those of the last
    constant.output(0).replace(ops.constant(exchanged).output(0))
    monkeypatch.setattr(quantize, "in_int8", lambda *given: graph)
    monkeypatch.setattr(
        quantize, "ranked", lambda graph, images: [("one",), ("another",)]
    )  # so that there are two tries
    with pytest.raises(SkipwayError, match=r"int8 refused: .* points lost, at most 0.5 allowed"):
        gate(trained, images, 0.5)


def test_the_gate_holds_the_scores_of_a_few_images_at_a_time(
    trained: EngineInput, images: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, held = engines.build("eager", trained), []
    update = SegmentMetrics.update

    def watched(self: SegmentMetrics, outputs: Any, targets: Any) -> None:
        held.append(len(outputs[0]))
        update(self, outputs, targets)

    monkeypatch.setattr(SegmentMetrics, "update", watched)
    judged = Samples(
        tuple(given.repeat(3, 1, 1, 1) for given in images[1].inputs),
        map_labels(lambda whole: torch.cat([whole] * 3), images[1].targets),  # type: ignore[arg-type]
        "three times the same",
    )
    once = quantize.metric_of(trained.task, engine, images[1])
    held.clear()
    assert quantize.metric_of(trained.task, engine, judged) == pytest.approx(once, abs=1e-12)
    assert sum(held) == 3 * len(images[1].inputs[0]) > max(held)
    assert max(held) <= engine.batch * engine.depth
