"""Objects of large images by tiles: each once, in the pixels of the whole image."""

from pathlib import Path

import numpy as np
import torch
from shapes import SHAPES, shapes
from torchvision.ops import box_iou

import skipway
from skipway.data.preprocess import Preprocessing
from skipway.tasks.detect.detections import Decoder
from skipway.tasks.detect.stitcher import ObjectStitcher

from .conftest import CPU

TILE = Preprocessing(3, 100, 100, (0.5,) * 3, (0.5,) * 3, fit="pad")


def outputs(*rows: tuple[float, ...]) -> tuple[torch.Tensor, ...]:
    """Candidates of left, top, right, bottom, score."""
    found = torch.tensor(rows).reshape(-1, 5)
    return found[:, :4], found[:, 4], torch.zeros(len(found), dtype=torch.int64)


def stitcher(size: tuple[int, int]) -> ObjectStitcher:
    return ObjectStitcher(Decoder(TILE, 0.5), ("thing",), 0.3, size)


def test_an_object_in_two_tiles_is_one_and_lies_where_it_is_in_the_image() -> None:
    both = stitcher((100, 170))
    both.add(outputs((75, 10, 95, 30, 0.9)), 0, 0)
    both.add(outputs((5, 10, 25, 30, 0.8)), 0, 70)
    [one] = both.finish("image").objects
    assert one.box == (75, 10, 95, 30)
    assert one.score == np.float32(0.9)


def test_a_part_at_the_inner_edge_of_a_tile_is_no_object_and_one_at_the_images_edge_is() -> None:
    cut = stitcher((100, 170))
    cut.add(outputs((80, 10, 100, 30, 0.9), (0, 50, 20, 70, 0.8)), 0, 0)
    cut.add(outputs((0, 10, 5, 30, 0.9), (80, 50, 100, 70, 0.7)), 0, 70)
    assert [one.box for one in cut.finish("image").objects] == [(0, 50, 20, 70), (150, 50, 170, 70)]


def test_the_image_in_one_piece_finds_what_is_larger_than_a_tile() -> None:
    large = stitcher((200, 200))
    large.add_whole(outputs((10, 10, 90, 90, 0.6)))
    for top in (0, 100):
        for left in (0, 100):
            large.add(outputs((0, 0, 100, 100, 0.9)), top, left)
    assert [one.box for one in large.finish("image").objects] == [(20, 20, 180, 180)]


def test_nothing_is_found_beyond_a_small_image() -> None:
    small = stitcher((50, 60))
    small.add(outputs((40, 30, 80, 80, 0.9), (70, 70, 90, 90, 0.8)), 0, 0)
    assert [one.box for one in small.finish("image").objects] == [(40, 30, 60, 50)]


def test_the_objects_of_a_wall_of_learnt_images_are_found(learnt: Path) -> None:
    """Sixteen images side by side, which are reduced to a quarter without tiles."""
    dataset = shapes()
    items, targets = list(dataset.train.items), dataset.train.targets
    wall = np.concatenate([np.concatenate(items[i : i + 4], 1) for i in range(0, 16, 4)], 0)
    predictor = skipway.Predictor(learnt, CPU)
    tiled, whole = predictor.predict(wall, tiles=True), predictor.predict(wall)
    shift = [np.array([96 * (i % 4), 96 * (i // 4)] * 2) for i in range(16)]
    truth = np.concatenate([targets.boxes[targets.rows(i)] + shift[i] for i in range(16)])
    names = [SHAPES[label] for label in targets.labels]

    def found(objects: tuple) -> int:
        overlaps = box_iou(torch.tensor(truth), torch.tensor([one.box for one in objects]).double().reshape(-1, 4))
        same = torch.tensor([[name == one.label for one in objects] for name in names], dtype=torch.bool)
        return int(((overlaps > 0.5) & same).any(1).sum())

    assert found(tiled.objects) >= 0.9 * len(truth)
    assert found(tiled.objects) > found(whole.objects)
    assert len(tiled.objects) <= 1.4 * len(truth)
