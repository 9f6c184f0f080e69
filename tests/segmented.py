"""Evaluations of segmentation without a network: drawn label maps, and scores right for some of the pixels."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from skipway.bundle import Card
from skipway.data.dataset import Split
from skipway.data.mask_targets import IGNORE, from_label_maps
from skipway.data.preprocess import Preprocessing
from skipway.evaluation.report import Report
from skipway.tasks.base import ReportContext, SplitOutputs
from skipway.tasks.segment.evaluation import SegmentEvaluation, measure
from skipway.tasks.segment.label_maps import statistics
from skipway.tasks.segment.task import Segment

STREET = ("sky", "road", "car", "sign")
SEEN = Preprocessing(3, 64, 64, (0.5,) * 3, (0.25,) * 3, fit="pad", height=48)


def drawn(n: int, classes: int, seed: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """n images uint8 (H, W, 3) of different sizes, and their label maps: stripes of the classes and an ignored edge."""
    rng, images, maps = np.random.default_rng(seed), [], []
    for i in range(n):
        height, width = 40 + 8 * (i % 3), 56 + 4 * (i % 5)
        rows, columns = np.mgrid[0:height, 0:width]
        labels = ((rows // 12 + columns // 20 + i) % classes).astype(np.uint8)
        pixels = 40 + 50 * labels[..., None] + rng.integers(0, 40, (height, width, 3))
        labels[:, :3] = IGNORE
        images.append(pixels.clip(0, 255).astype(np.uint8))
        maps.append(labels)
    return images, maps


def scored(
    right: float = 0.8, n: int = 12, classes: tuple[str, ...] = STREET, drawn_classes: int = 0, never: int | None = None
) -> SplitOutputs:
    """Some `right` of the pixels, in blocks; images have the first `drawn_classes` classes, 0 for all; the class
    numbered `never` is predicted nowhere."""
    count = len(classes)
    images, maps = drawn(n, drawn_classes or count)
    rng, logits = np.random.default_rng(7), torch.zeros(n, count, *SEEN.canvas)
    for i, labels in enumerate(maps):
        place = SEEN.placement(*labels.shape)
        known = np.where(labels == IGNORE, 0, labels)
        at = (np.arange(side) * own // side for side, own in zip(place[:2], labels.shape, strict=True))
        inside = known[np.ix_(*at)]
        wrong = rng.random((place.height // 4 + 1, place.width // 4 + 1)) >= right
        wrong = wrong.repeat(4, 0).repeat(4, 1)[: place.height, : place.width]
        inside = np.where(wrong, (inside + 1) % count, inside)
        hot = torch.from_numpy(4 * np.moveaxis(np.eye(count, dtype=np.float32)[inside], -1, 0))
        logits[i, :, place.top : place.top + place.height, place.left : place.left + place.width] = hot
    if never is not None:
        logits[:, never] = -9
    targets = from_label_maps(maps, count)
    split = Split(images, targets, tuple(f"street/{i:03d}.jpg" for i in range(n)))
    outputs = statistics((logits,), targets.tensor(), SEEN)
    return SplitOutputs("street", "test", classes, split, "f1" * 32, True, (), outputs, 1.5)


def segmented(**how: Any) -> SegmentEvaluation:
    """`scored`, measured."""
    return measure(scored(**how), SEEN)


def filled(outlines: list[list[int]], height: int, width: int) -> np.ndarray:
    """The pixels whose centre has an odd number of vertical edges on its left."""
    crossings = np.zeros((height, width), dtype=int)
    for outline in outlines:
        corners = np.array(outline).reshape(-1, 2)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0), strict=True):
            if x0 == x1:
                crossings[min(y0, y1) : max(y0, y1), x0:] += 1
    return crossings % 2 == 1


def card(classes: tuple[str, ...] = STREET, **changes: Any) -> Card:
    plain = Card(
        task="segment",
        network={"name": "unet_resnet18", "classes": len(classes), "channels": 3},
        classes=list(classes),
        preprocessing={"channels": 3, "size": 64, "resize": 64, "mean": [0.5] * 3, "std": [0.25] * 3},
        recipe={
            "name": "segment",
            "val": 0.1,
            "seed": 0,
            "pretrained": "resnet18",
            "label_smoothing": 0.0,
            "flip": True,
        },
        data={"name": "street", "fingerprint": "f1" * 32, "counts": {"train": 90, "val": 10, "test": 12}},
        hardware={"device": "a processor", "precision": "float32"},
        versions={"python": "3.11.7", "torch": "2.11.0"},
        commit="abc1234",
        created="2026-07-30T12:00:00+00:00",
        parameters=14_329_659,
        seconds=12.5,
    )
    return replace(plain, **changes)


def context(of: Card | None = None, records: Any = ()) -> ReportContext:
    return ReportContext(of or card(), SEEN, None, records, "center")


def report(evaluation: SegmentEvaluation, records: Any = ()) -> Report:
    task, of = Segment(evaluation.classes, SEEN), context(card(evaluation.classes), records)
    return Report(task, evaluation, of, "skipway eval run street", "skipway train street")
