"""Exports with non-maximum suppression inside give what `predict` finds, and nothing is left to suppress."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
import torch
from torch import nn
from torchvision.ops import batched_nms
from typer.testing import CliRunner

import skipway
from skipway import bundle, models
from skipway.cli import app
from skipway.models.detection import suppression
from skipway.models.detection.base import Detections, Detector
from skipway.models.detection.suppression import Suppressed

from .conftest import CPU


def opened(form: str, folder: Path) -> Callable[[np.ndarray], list[np.ndarray]]:
    """From images to boxes, scores and labels by the format's own runtime."""
    names = ["boxes", "scores", "labels"]
    if form == "onnx":
        session = onnxruntime.InferenceSession(folder / "model.onnx")
        return lambda images: session.run(names, {"images": images})
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(folder / "model.xml", "CPU", precise)

    def run(images: np.ndarray) -> list[np.ndarray]:
        found = compiled({"images": images})
        return [found[name].copy() for name in names]

    return run


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_an_export_gives_the_objects_that_predict_finds(
    form: str, learnt: Path, pictures: list[Path], tmp_path: Path
) -> None:
    out, files = tmp_path / "out", [str(file) for file in pictures]
    command = ["export", str(learnt), "--format", form, "--nms", "--json", "--out", str(out)]
    said = CliRunner().invoke(app, [*command, *(part for file in files for part in ("--images", file))])
    assert said.exit_code == 0, said.output
    evidence = json.loads((out / "evidence.json").read_text())
    assert list(evidence["batches"]) == ["1"], "it takes one image at a time"
    assert evidence["batches"]["1"]["agrees"] and evidence["batches"]["1"]["objects"] >= 16
    assert evidence["inputs"][0]["shape"] == [1, 3, 96, 96]
    assert [one["shape"] for one in evidence["outputs"]] == [[1, 100, 4], [1, 100], [1, 100]]
    page = (out / "README.md").read_text()
    assert "one image at a time" in page and "only the best is left" in page and "any batch" not in page
    predictor, exported, seen = skipway.Predictor(learnt, CPU), opened(form, out), 0
    for file in pictures[1:]:  # as large as the input
        fitted = predictor.preprocessing.open(file, "one").unsqueeze(0).numpy()
        boxes, scores, labels = (output[0] for output in exported(fitted))
        assert (np.diff(scores) <= 0).all(), "the best first"
        found = predictor.predict(file, threshold=0.05).objects
        sure = scores >= 0.05
        assert scores[sure].tolist() == pytest.approx([one.score for one in found], abs=1e-4)
        assert boxes[sure] == pytest.approx(np.array([one.box for one in found]).reshape(-1, 4), abs=0.1)
        assert [predictor.classes[i] for i in labels[sure]] == [one.label for one in found]
        seen += len(found)
    assert seen >= 16
    if form == "onnx":
        kinds = {node.op_type for node in onnx.load(out / "model.onnx").graph.node}
        assert "NonMaxSuppression" in kinds


def test_an_export_that_leaves_overlapping_boxes_is_not_written(
    learnt: Path, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The suppression of `predict` would hide it, so it is not applied to what the export gives."""
    monkeypatch.setattr(suppression, "nms", lambda boxes, scores, threshold: torch.arange(len(scores)))
    with pytest.raises(skipway.SkipwayError, match="the export is not the network, and was not written") as refused:
        skipway.export(learnt, "onnx", tmp_path / "out", images=[str(file) for file in pictures], nms=True)
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


class Drawn(nn.Module):
    """A detector of random boxes, many of which overlap, of three classes."""

    nms_threshold = 0.5

    def forward(self, images: torch.Tensor) -> Detections:
        corner = torch.rand(1, 300, 2) * 40
        boxes = torch.cat([corner, corner + 5 + torch.rand(1, 300, 2) * 15], 2)
        return Detections(boxes, torch.rand(1, 300).sort(descending=True).values, torch.randint(3, (1, 300)))


@pytest.mark.parametrize("most", [10, 300])
def test_suppression_keeps_the_boxes_that_torchvision_keeps_in_each_class(most: int) -> None:
    detector = Drawn()
    for seed in range(20):
        torch.manual_seed(seed)
        found = Suppressed(detector, most)(torch.zeros(1, 3, 48, 64))  # type: ignore[arg-type]
        torch.manual_seed(seed)
        boxes, scores, labels = (output[0] for output in detector(torch.zeros(1, 3, 48, 64)))
        kept = batched_nms(boxes, scores, labels, 0.5)[:most]
        assert found.scores.shape == (1, most)
        count = int((found.scores > 0).sum())
        assert count == len(kept) < 300
        assert torch.equal(found.boxes[0, :count], boxes[kept])
        assert torch.equal(found.scores[0, :count], scores[kept])
        assert torch.equal(found.labels[0, :count], labels[kept])


@pytest.mark.parametrize(
    ("task", "name", "form", "int8", "message"),
    [
        (
            "detect",
            "fasterrcnn_resnet18d_x0_5",
            "onnx",
            False,
            "fasterrcnn_resnet18d_x0_5 suppresses overlapping boxes",
        ),
        ("classify", "resnet18d_x0_5", "onnx", False, "--nms is for boxes, which the task classify does not have"),
        ("segment", "unet_resnet18d_x0_5_light", "onnx", False, "--nms is for boxes, which the task segment does not"),
        ("detect", "", "torch", False, "--nms is for onnx and openvino: give another --format"),
        ("detect", "", "openvino", True, "--nms is in float32: leave out --int8 or --nms"),
    ],
)
def test_what_has_nothing_to_suppress_is_refused_in_one_line(
    task: str, name: str, form: str, int8: bool, message: str, learnt: Path, tmp_path: Path
) -> None:
    run = learnt
    if name:
        run, described = tmp_path / "run", {"name": name, "classes": 2, "channels": 3}
        net = (models.build if task == "classify" else models.create_dense)(**described)
        run.mkdir()
        bundle.write(
            run,
            net.state_dict(),
            replace(
                bundle.read_card(learnt),
                task=task,
                network=described,
                head={},
                metrics={},
                summaries={},
                calibration=None,
            ),
        )
    with pytest.raises(skipway.SkipwayError, match=message) as refused:
        skipway.export(run, form, tmp_path / "out", int8=int8, nms=True)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_networks_of_two_stages_are_those_that_suppress_boxes_themselves() -> None:
    """By their own modules: only such have a second stage."""
    for name in models.list_detectors("*_resnet18d_x0_5*"):
        net = models.create_detector(name, 2)
        assert isinstance(net, Detector)
        assert models.suppresses(name) == hasattr(net, "roi_heads")
