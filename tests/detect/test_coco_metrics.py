"""The COCO protocol: the metric's own fixture, pycocotools on random sets, and figures known in closed form."""

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import coco
from pycocotools.cocoeval import COCOeval

from skipway.data.box_targets import BoxTargets, from_images
from skipway.data.preprocess import Preprocessing
from skipway.tasks.detect.bootstrap import match_table
from skipway.tasks.detect.coco import FIGURES, RECALLS, dataset_of, evaluate, evaluate_results, results_of, truth_of
from skipway.tasks.detect.detections import Decoder, Detected
from skipway.tasks.detect.metrics import DetectMetrics

CLASSES = ("one", "two", "three")
PUBLISHED = {  # cocodataset/cocoapi, results of the fixture
    "bbox": {"ap": 0.5045806987249628, "ap50": 0.6969727247299577, "ap75": 0.5729816669904824},
    "segm": {"ap": 0.3195452758576433, "ap50": 0.5622883972521636},
}


def random_set(seed: int, images: int = 12, crowds: bool = True) -> tuple[BoxTargets, list[Detected]]:
    """Objects of all sizes, and detections near some of them, elsewhere, and of wrong classes."""
    rng = np.random.default_rng(seed)
    objects, found = [], []
    for _ in range(images):
        mine, boxes, labels = [], [], []
        for _ in range(rng.integers(0, 7)):
            left, top = rng.uniform(0, 300, 2)
            width, height = rng.uniform(8, 200, 2)
            label = int(rng.integers(3))
            mine.append(
                (
                    (left, top, left + width, top + height),
                    label,
                    bool(crowds and rng.random() < 0.1),
                    width * height,
                    None,
                )
            )
            for _ in range(rng.integers(0, 3)):
                boxes.append(np.array(mine[-1][0]) + rng.normal(0, 0.12, 4) * np.array([width, height] * 2))
                labels.append(label if rng.random() < 0.8 else int(rng.integers(3)))
        for _ in range(rng.integers(0, 4)):
            corner = rng.uniform(0, 400, 2)
            boxes.append(np.concatenate([corner, corner + rng.uniform(5, 90, 2)]))
            labels.append(int(rng.integers(3)))
        scores = np.round(rng.random(len(boxes)), 2)  # so that some are equal
        order = np.argsort(-scores, kind="stable")
        whole = np.array(boxes).reshape(-1, 4)
        whole[:, 2:] = np.maximum(whole[:, 2:], whole[:, :2] + 1)
        objects.append(mine)
        found.append(Detected(whole[order], scores[order], np.array(labels, dtype=np.int64)[order]))
    return from_images(objects, [(600, 600)] * images), found


def oracle(targets: BoxTargets, found: list[Detected], kind: str = "bbox") -> list[float]:
    """pycocotools' twelve figures."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO()
        truth.dataset = truth_of(targets, CLASSES, "bbox").dataset
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(results_of(found, targets.sizes)), kind)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats.tolist()


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_metrics_own_fixture_gives_its_published_figures(kind: str, shared_data: Path) -> None:
    folder = shared_data / "coco" / "fixture"
    annotations = json.loads((folder / "instances_val2014_100.json").read_text())
    name = "bbox" if kind == "bbox" else "segm"
    results = json.loads((folder / f"instances_val2014_fake{name}100_results.json").read_text())
    truth = dataset_of(annotations["images"], annotations["annotations"], [])
    truth.dataset["categories"] = annotations["categories"]
    truth.createIndex()
    figures = evaluate_results(truth, results, len(annotations["categories"]), kind).figures  # type: ignore[arg-type]
    for name, expected in PUBLISHED[kind].items():
        assert figures[name] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_random_sets_have_the_figures_of_pycocotools(seed: int) -> None:
    targets, found = random_set(seed)
    figures = evaluate(targets, found, CLASSES).figures
    assert [figures[name] for name in (*FIGURES, *RECALLS)] == pytest.approx(oracle(targets, found), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_the_bootstraps_own_average_precision_is_cocos(seed: int) -> None:
    """Two implementations of the same figure."""
    targets, found = random_set(seed)
    assert match_table(targets, found, 3).ap() == pytest.approx(
        evaluate(targets, found, CLASSES).figures["ap"], abs=1e-9
    )


def test_an_image_drawn_twice_counts_as_two_images() -> None:
    targets, found = random_set(3, crowds=False)
    places = np.array([0, 0, 2, 3, 5, 5, 5])
    weights = np.bincount(places, minlength=len(found)).astype(float)
    drawn = match_table(targets.take(places), [found[i] for i in places], 3).ap()
    # equal scores of an image and its copy may be taken in another order, which changes precision by little
    assert match_table(targets, found, 3).ap(weights) == pytest.approx(drawn, abs=0.02)


def perfect(targets: BoxTargets) -> list[Detected]:
    rows = [targets.rows(i) for i in range(len(targets))]
    return [Detected(targets.boxes[r], np.ones(r.stop - r.start), targets.labels[r]) for r in rows]


def test_perfect_boxes_score_one_and_other_classes_zero() -> None:
    targets, _ = random_set(1, crowds=False)
    assert evaluate(targets, perfect(targets), CLASSES).figures["ap"] == 1
    wrong = [one._replace(labels=(one.labels + 1) % 3) for one in perfect(targets)]
    assert evaluate(targets, wrong, CLASSES).figures["ap50"] < 0.05


def test_shifted_boxes_score_by_the_overlap_computed_by_hand() -> None:
    """A box of 100 x 100 moved by 20 pixels overlaps 8000 / 12000 = 0.667: right at 0.5, 0.55, 0.6 and 0.65 only."""
    objects = [[((0, 0, 100, 100), 0, False, 1e4, None)]] * 3
    targets = from_images(objects, [(200, 200)] * 3)
    moved = [Detected(one.boxes + np.array([20, 0, 20, 0]), one.scores, one.labels) for one in perfect(targets)]
    figures = evaluate(targets, moved, CLASSES[:1]).figures
    assert (figures["ap"], figures["ap50"], figures["ap75"]) == pytest.approx((0.4, 1, 0), abs=1e-9)


def test_classes_without_objects_leave_the_mean_and_nothing_found_is_zero() -> None:
    targets = from_images([[((0, 0, 50, 50), 1, False, 2500.0, None)]], [(100, 100)])
    assert evaluate(targets, perfect(targets), CLASSES).figures["ap"] == 1
    assert evaluate(targets, perfect(targets), CLASSES).per_class[:, 0].tolist() == [-1, 1, -1]
    nothing = [Detected(np.empty((0, 4)), np.empty(0), np.empty(0, dtype=np.int64))]
    assert evaluate(targets, nothing, CLASSES).figures["ap"] == 0


def batches(targets: BoxTargets, found: list[Detected]) -> tuple[Decoder, list]:
    """Outputs of a network that would find `found`, on the images' own pixels."""
    decoder = Decoder(Preprocessing(3, 600, 600, (0.5,) * 3, (0.5,) * 3, fit="squash"), nms=1.0)
    most = max(len(one.scores) for one in found)
    rows = []
    for one in found:
        boxes, scores, labels = torch.zeros(most, 4), torch.zeros(most), torch.zeros(most)
        count = len(one.scores)
        boxes[:count], scores[:count] = torch.tensor(one.boxes.clip(0, 600)), torch.tensor(one.scores)
        labels[:count] = torch.tensor(one.labels)
        rows.append((boxes, scores, labels))
    return decoder, rows


def test_any_order_of_images_and_any_number_of_processes_give_the_same_figures() -> None:
    targets, found = random_set(5, crowds=False)
    decoder, rows = batches(targets, found)

    def accumulated(groups: list[list[int]]) -> dict[str, float]:
        parts = []
        for places in groups:
            part = DetectMetrics(decoder, CLASSES)
            for start in range(0, len(places), 3):
                batch = places[start : start + 3]
                outputs = tuple(torch.stack(one) for one in zip(*(rows[i] for i in batch), strict=True))
                part.update(outputs, targets.take(np.array(batch)).tensor())
            parts.append(part)
        parts[0].merge(parts[1:])
        return parts[0].compute()

    whole = accumulated([list(range(12))])
    assert accumulated([[0, 3, 5, 9], [1, 2, 4], [6, 7, 8, 10, 11]]) == pytest.approx(whole, abs=1e-12)
    kept = [Detected(*(part[one.scores >= 0.05] for part in one[:3])) for one in found]
    clipped = [one._replace(boxes=one.boxes.clip(0, 600)) for one in kept]
    assert whole["ap"] == pytest.approx(evaluate(targets, clipped, CLASSES).figures["ap"], abs=1e-4)
