"""Outputs of exports are read in NumPy as tasks read tensors."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from skipway.data.preprocess import Preprocessing
from skipway.errors import BundleError, SkipwayError
from skipway.runtime.preprocess import ArrayPreprocessing
from skipway.tasks.classify.task import Classify
from skipway.tasks.detect.exported import suppressed
from skipway.tasks.detect.task import Detect
from skipway.tasks.export_reader import ExportedTask
from skipway.tasks.exported import reader_for
from skipway.tasks.segment.task import Segment
from skipway.tasks.tag.task import Tag

CLASSES = tuple("abcdefghijkl")
PAD = Preprocessing(3, 64, 64, (0.5,) * 3, (0.25,) * 3, fit="pad", height=48)


def exported(name: str, fit: Preprocessing = PAD, **decoding: float) -> ExportedTask:
    return ExportedTask(name, CLASSES, {}, decoding, ArrayPreprocessing(**asdict(fit)))


@pytest.mark.parametrize("kind", [Classify, Tag])
def test_classes_are_those_of_the_task(kind: type[Classify] | type[Tag]) -> None:
    task, reader = kind(CLASSES), reader_for(exported(kind.name))
    scores = torch.randn(20, len(CLASSES)) * 3
    for row, probabilities in zip(scores, task.class_probabilities(scores, 1.7), strict=True):
        found = reader.predict("x", {"probabilities": probabilities.numpy()}, (1, 1), 4, None)
        expected = task.predict("x", (row,), (1, 1), 1.7, 4)
        assert [name for name, _ in found.classes] == [name for name, _ in expected.classes]
        assert [p for _, p in found.classes] == pytest.approx([p for _, p in expected.classes], rel=1e-6)


def boxes(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes of which many overlap, some without area, with scores of which some are equal, and labels."""
    corners = rng.integers(0, 12, (count, 2)) * 4 + rng.normal(0, 1, (count, 2))
    sides = rng.integers(0, 5, (count, 2)) * 6 + 1
    scores = rng.integers(0, 100, count) / 100
    return (
        np.concatenate([corners, corners + sides], 1).astype(np.float32),
        scores.astype(np.float32),
        rng.integers(0, 4, count),
    )


@pytest.mark.parametrize("count", [0, 1, 30, 900, 1100])
def test_the_boxes_that_are_kept_are_torchvisions(count: int) -> None:
    rng = np.random.default_rng(count)
    for threshold in (0.5, 0.6, 1.0):
        one, scores, labels = boxes(count, rng)
        scores += np.arange(count, dtype=np.float32) * 1e-6  # the order of equal ones is not defined
        expected = batched_nms(*map(torch.from_numpy, (one, scores, labels)), threshold)
        np.testing.assert_array_equal(suppressed(one, scores, labels, threshold), expected.numpy())


def test_objects_are_those_of_the_task() -> None:
    rng, reader = np.random.default_rng(0), reader_for(exported("detect", nms=0.6))
    task = replace(Detect(CLASSES), network="fcos_resnet18_light", preprocessing=PAD)
    assert task.decoding == {"nms": 0.6}
    for size in ((48, 64), (300, 200), (7, 999)):
        one, scores, labels = boxes(200, rng)
        scores += np.arange(200, dtype=np.float32) * 1e-6
        outputs = {"boxes": one, "scores": scores, "labels": labels}
        for threshold in (None, 0.1, 0.9):
            tensors = tuple(map(torch.from_numpy, outputs.values()))
            expected = task.with_threshold(threshold).predict("x", tensors, size, 1.0, 5)
            assert reader.predict("x", outputs, size, 5, threshold) == expected


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_label_maps_are_those_of_the_task(fit: str) -> None:
    record = replace(PAD, fit=fit)
    task = replace(Segment(CLASSES), preprocessing=record)
    reader = reader_for(exported("segment", record))
    for size in ((48, 64), (101, 57), (20, 333), (1, 1)):
        scores = torch.randn(len(CLASSES), 48, 64)
        expected = task.predict("x", (scores,), size, 1.0, 5).labels
        found = reader.predict("x", {"scores": scores.numpy()}, size, 5, None).labels
        assert found.shape == size
        assert (found != expected).mean() <= 1e-3  # two classes whose scores are equal to the last bit


def test_what_cannot_be_read_is_refused_in_one_line() -> None:
    with pytest.raises(SkipwayError, match="use `skipway generate`"):
        reader_for(exported("generate"))
    with pytest.raises(BundleError, match="the task number is not one of classify, tag, detect, segment"):
        reader_for(exported("number"))
    with pytest.raises(BundleError, match="export it again"):
        reader_for(exported("detect"))
