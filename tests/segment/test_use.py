"""A trained segmenter in use: the same pixels by every way, tiled or whole, exported or not."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from shapes import labelled_shapes
from torch import Tensor

import skipway
from skipway.data.mask_targets import IGNORE
from skipway.data.preprocess import Preprocessing
from skipway.deploy.engines.base import Engine, run_synchronously
from skipway.deploy.predict.tiles import OVERLAP, starts, stitch, tiles_of
from skipway.tasks import classifier
from skipway.tasks.segment.parity import compare
from skipway.tasks.segment.stitcher import LabelMapStitcher, tile_weights

from .conftest import CPU

TILE = Preprocessing(3, 48, 48, (0.5,) * 3, (0.5,) * 3, fit="pad", height=32)


def test_the_pixels_of_the_images_are_found_in_their_own_size(learnt: Path, pictures: list[Path]) -> None:
    """The first file is twice as large as the image that was learnt: so is its label map."""
    targets = labelled_shapes().train.targets
    for i, prediction in enumerate(skipway.Predictor(learnt, CPU).predict(pictures)):
        truth = targets.label_map(i)  # type: ignore[attr-defined]
        truth = truth if i else truth.repeat(2, 0).repeat(2, 1)
        assert prediction.labels.shape == truth.shape == prediction.size
        valid = truth != IGNORE
        assert np.mean(prediction.labels[valid] == truth[valid]) > 0.98
        assert sum(prediction.shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("form", ["onnx", "openvino", "torch"])
def test_an_export_gives_every_pixel_the_same_class(
    form: str, learnt: Path, pictures: list[Path], tmp_path: Path
) -> None:
    made = skipway.export(learnt, form, tmp_path / form, images=[str(file) for file in pictures])
    assert all(row["agrees"] and row["differing"] == 0 for row in made.evidence["batches"].values())
    if form != "onnx":
        return
    session = onnxruntime.InferenceSession(made.folder / "model.onnx")
    predictor = skipway.Predictor(learnt, CPU)
    fitted = torch.stack([predictor.preprocessing.open(file, "one") for file in pictures[1:4]])
    found = session.run(["scores"], {"images": fitted.numpy()})[0]
    assert found.shape == (3, 3, 96, 96)
    for labels, prediction in zip(found.argmax(1), predictor.predict(pictures[1:4]), strict=True):
        assert np.mean(labels == prediction.labels) > 0.9999


def test_a_folded_network_runs_in_the_machines_own_precision(learnt: Path, pictures: list[Path]) -> None:
    """Also in bfloat16, in which a capture's checks of types would fail."""
    predictor = skipway.Predictor(learnt, engine="folded")
    expected = skipway.Predictor(learnt, CPU).predict(pictures[1:5])
    for found, eager in zip(predictor.predict(pictures[1:5]), expected, strict=True):
        assert np.mean(found.labels == eager.labels) > 0.98


def test_parity_counts_decided_pixels_alone() -> None:
    scores = torch.zeros(1, 3, 4, 5)
    scores[0, 1] = 2.0
    scores[0, 2, 0, :2] = 2.0 - 1e-4  # nearly equal
    other = scores.clone()
    other[0, 2, 0, 0] = 3.0
    undecided = compare((scores,), (other,), "float32")
    assert (undecided.pixels, undecided.undecided, undecided.differing, undecided.agrees) == (20, 2, 0, True)
    other[0, 0, 3, 3] = 5.0
    wrong = compare((scores,), (other,), "float32")
    assert (wrong.differing, wrong.agrees) == (1, False)


def test_nothing_agrees_with_what_is_not_finite_or_with_nothing() -> None:
    """Also where scores are small, or all of them nearly equal."""
    scores = 1e-3 * torch.randn(1, 3, 8, 8)
    assert compare((scores,), (scores,), "int8").agrees
    assert not compare((scores,), (-scores,), "int8").agrees
    assert not compare((scores,), (scores * float("nan"),), "int8").agrees
    assert not compare((torch.zeros(1, 3, 8, 8),), (torch.zeros(1, 3, 8, 8),), "float32").agrees


# ---------------------------------------------------------------------------------------------------------------------
# Tiles


@pytest.mark.parametrize("length", [1, 31, 32, 33, 56, 57, 200, 6000])
def test_tiles_cover_every_pixel_with_the_promised_overlap(length: int) -> None:
    found = starts(length, 32)
    assert found[0] == 0
    assert found[-1] == max(length - 32, 0)
    steps = np.diff(found)
    assert (steps > 0).all()
    assert (32 - steps >= 32 * OVERLAP).all()
    assert len(found) == 1 if length <= 32 else len(found) <= np.ceil((length - 32) / 24) + 1


def pixelwise(images: Tensor) -> Tensor:
    """A network whose scores of a pixel are those of its colour alone."""
    return torch.stack([images[:, 0], images[:, 1], 255 - images[:, 0].int()], 1).float()


def engine(batch: int, run: Any = pixelwise) -> Engine:
    return Engine("test", "float32", {}, batch, 1, run_synchronously(run))


@pytest.mark.parametrize("size", [(200, 300), (20, 100), (100, 30), (10, 10), (32, 48)])
@pytest.mark.parametrize("batch", [1, 4])
def test_tiles_put_together_are_the_image_at_once(size: tuple[int, int], batch: int) -> None:
    torch.manual_seed(0)
    image = torch.randint(256, (3, *size), dtype=torch.uint8)
    stitcher = LabelMapStitcher(("a", "b", "c"), size)
    stitch(image, TILE, engine(batch), stitcher)
    found = stitcher.finish("image")
    assert found.size == size
    assert np.array_equal(found.labels, pixelwise(image[None]).argmax(1)[0].numpy())


def test_a_stitcher_holds_the_scores_of_one_row_of_tiles() -> None:
    image = torch.zeros(3, 400, 96, dtype=torch.uint8)
    stitcher, most = LabelMapStitcher(("a", "b", "c"), (400, 96)), 0
    for tile, top, left in tiles_of(image, TILE):
        stitcher.add((pixelwise(tile[None])[0],), top, left)
        most = max(most, stitcher.scores.shape[1])
    assert most == TILE.canvas[0]


def test_a_tiles_edges_count_least() -> None:
    weights = tile_weights(32, 48)
    assert weights.max() == 1
    assert weights.min() == weights[0, 0] > 0
    assert torch.equal(weights, weights.flip(0))
    assert torch.equal(weights, weights.flip(1))


def test_a_large_picture_is_labelled_at_its_own_resolution(learnt: Path, tmp_path: Path) -> None:
    """Sixteen learnt images side by side: as a whole they are reduced to one input, in which little is right."""
    dataset = labelled_shapes()
    items = list(dataset.train.items)
    wall = np.concatenate([np.concatenate(items[i : i + 4], 1) for i in range(0, 16, 4)], 0)
    maps = [dataset.train.targets.label_map(i) for i in range(16)]  # type: ignore[attr-defined]
    truth = np.concatenate([np.concatenate(maps[i : i + 4], 1) for i in range(0, 16, 4)], 0)
    Image.fromarray(wall).save(tmp_path / "wall.png")
    predictor = skipway.Predictor(learnt, CPU)
    tiled = predictor.predict(tmp_path / "wall.png", tiles=True)
    assert tiled.labels.shape == truth.shape
    valid, shapes = truth != IGNORE, (truth != IGNORE) & (truth > 0)
    assert np.mean(tiled.labels[valid] == truth[valid]) > 0.97
    assert np.mean(tiled.labels[shapes] == truth[shapes]) > 0.9


def test_tiles_name_an_image_that_cannot_be_read_and_go_on(learnt: Path, pictures: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_text("no picture")
    found: Iterator[Any] = skipway.Predictor(learnt, CPU).predict([tmp_path / "bad.png", pictures[1]], tiles=True)
    bad, good = found
    assert "bad.png is not an image" in bad.error
    assert good.labels.shape == (96, 96)


def test_an_image_has_one_class_and_no_tiles() -> None:
    with pytest.raises(skipway.SkipwayError, match="are not predicted by tiles: leave out --tiles"):
        classifier(("cat", "dog")).stitcher((800, 600))
