"""Folders of images and masks are recognised by names and pixels: class folders are none, and splits without masks are
left out and named."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter

from skipway.data import open_dataset
from skipway.data.read_options import ReadOptions
from skipway.errors import DataError
from tests.data.masks import scenes, write_image, write_pairs

Draw = Callable[[np.random.Generator], np.ndarray]


def digit(rng: np.random.Generator) -> np.ndarray:
    """A thick grey stroke with smooth edges on black, uint8 (28, 28), as in MNIST."""
    canvas = np.zeros((28, 28), np.uint8)
    left, top = rng.integers(5, 12, 2)
    canvas[top : top + 14, left : left + 3] = 255
    canvas[top + 5 : top + 8, left : left + 9] = 255
    return np.asarray(Image.fromarray(canvas).filter(ImageFilter.GaussianBlur(0.7)))


def photograph(rng: np.random.Generator) -> np.ndarray:
    """Smooth shades with the noise of a camera, uint8 (40, 40)."""
    rows, columns = np.mgrid[:40, :40]
    shades = 128 + 60 * np.sin(rows / rng.uniform(4, 9)) + 50 * np.cos(columns / rng.uniform(4, 9))
    return (shades + rng.normal(0, 3, (40, 40))).clip(0, 255).astype(np.uint8)


def dim(rng: np.random.Generator) -> np.ndarray:
    """A photograph with few values, uint8 (40, 40)."""
    return photograph(rng) // 4


def cut_out(rng: np.random.Generator) -> np.ndarray:
    """A photograph in the middle of a white background, uint8 (40, 40)."""
    canvas = np.full((40, 40), 255, np.uint8)
    canvas[7:33, 5:35] = photograph(rng)[7:33, 5:35]
    return canvas


CLASS_FOLDERS: dict[str, tuple[Draw, str]] = {
    "letters": (digit, "u v w x y z"),
    "two letters": (digit, "x y"),
    "faces": (photograph, "mask no_mask"),
    "faces in other words": (photograph, "masks face"),
    "faces in the dark": (dim, "mask face"),
    "faces before white": (cut_out, "mask plain"),
    "drawn faces": (digit, "mask nomask"),
    "drawings": (digit, "label unlabelled"),
    "classes with the names of masks": (photograph, "photo target"),
    "three classes, two of which have such names": (digit, "image mask other"),
}


@pytest.mark.parametrize("inside", ["", "train"])
@pytest.mark.parametrize("kind", CLASS_FOLDERS)
def test_class_folders_of_grey_images_with_equal_names_are_no_masks(tmp_path: Path, kind: str, inside: str) -> None:
    draw, names = CLASS_FOLDERS[kind]
    rng = np.random.default_rng(0)
    for folder in names.split():
        (tmp_path / inside / folder).mkdir(parents=True)
        for i in range(4):
            Image.fromarray(draw(rng)).save(tmp_path / inside / folder / f"{i}.png")
    dataset = open_dataset(str(tmp_path))
    assert dataset.task == "classify"
    assert dataset.classes == tuple(sorted(names.split()))


def test_class_folders_of_mnist_are_no_masks(tmp_path: Path, shared_data: Path) -> None:
    rows = pq.ParquetFile(shared_data / "mnist" / "test.parquet").iter_batches(60)
    images = next(rows).to_pylist()
    for i, row in enumerate(images):
        file = tmp_path / "uvwxyz"[i % 6] / f"{i // 6}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(row["image"]["bytes"])
    assert open_dataset(str(tmp_path)).task == "classify"


@pytest.mark.parametrize("how", ["blurred", "JPEG"])
def test_masks_with_soft_edges_are_recognised_so_that_they_can_be_refused(tmp_path: Path, how: str) -> None:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:96, :128]
    for i in range(3):
        write_image(scenes(1)[0]._replace(labels=np.zeros((96, 128), np.uint8)), tmp_path / "images" / f"{i}.png")
        disc = Image.fromarray((np.hypot(rows - rng.integers(40, 50), columns - 60) < 30) * np.uint8(255))
        (tmp_path / "masks").mkdir(exist_ok=True)
        if how == "JPEG":
            disc.save(tmp_path / "masks" / f"{i}.jpg", quality=50)
        else:
            disc.filter(ImageFilter.GaussianBlur(2)).save(tmp_path / "masks" / f"{i}.png")
    if how == "JPEG":
        dataset = open_dataset(str(tmp_path))
        assert dataset.task == "segment"
        assert all("it is a JPEG" in reason for _, _, reason in dataset.bad_annotations)
    else:
        with pytest.raises(DataError, match="as smooth resizing leaves them"):
            open_dataset(str(tmp_path))


def test_another_folder_of_images_needs_the_option(tmp_path: Path) -> None:
    write_pairs(scenes(6), tmp_path, "images/{stem}.png", "masks/{stem}.png")
    shutil.copytree(tmp_path / "images", tmp_path / "overlays")
    assert open_dataset(str(tmp_path)).task == "classify"
    assert len(open_dataset(str(tmp_path), ReadOptions(format="semantic")).train) == 6


LAYOUTS: dict[str, tuple[str, str, Sequence[str]]] = {  # images, masks, and the folders of splits without masks
    "splits inside": ("images/{split}/{stem}.png", "masks/{split}/{stem}.png", ("images/test",)),
    "splits outside": ("{split}/images/{stem}.png", "{split}/masks/{stem}.png", ("test/images",)),
    "an empty folder of masks": (
        "{split}/images/{stem}.png",
        "{split}/masks/{stem}.png",
        ("test/images", "test/masks"),
    ),
    "as CamVid": ("{split}/{stem}.png", "{split}annot/{stem}.png", ("test",)),
    "with words": ("{split}_images/{stem}.png", "{split}_masks/{stem}.png", ("test_images",)),
    "without folders": ("{split}/images/{stem}.png", "{split}/masks/{stem}.png", ("test",)),
    "suffixes": ("{split}/{stem}.png", "{split}/{stem}_mask.png", ("test",)),
    "no other splits": ("images/{stem}.png", "masks/{stem}.png", ("test",)),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_split_without_masks_is_left_out_and_named(tmp_path: Path, kind: str) -> None:
    image, mask, without = LAYOUTS[kind]
    write_pairs(scenes(6), tmp_path, image, mask)
    for folder in without:
        (tmp_path / folder).mkdir(parents=True)
    for one in scenes(3):
        write_image(one, tmp_path / without[0] / f"{one.stem}.png")
    dataset = open_dataset(str(tmp_path))
    assert dataset.task == "segment"
    assert "test" not in dataset.splits
    assert sum(map(len, dataset.splits.values())) == 6
    assert not dataset.bad_annotations
    place = without[0] if kind == "splits inside" else without[0].partition("/")[0]
    assert f"{place} is left out: it has 3 images and no masks" in dataset.remarks


def test_nothing_is_left_out_of_splits_with_masks(tmp_path: Path) -> None:
    write_pairs(scenes(6), tmp_path, "images/{split}/{stem}.png", "masks/{split}/{stem}.png")
    assert not any("left out" in remark for remark in open_dataset(str(tmp_path)).remarks)


def test_training_images_without_any_mask_stop(tmp_path: Path) -> None:
    write_pairs(scenes(6), tmp_path, "images/{split}/{stem}.png", "masks/{split}/{stem}.png")
    shutil.rmtree(tmp_path / "masks" / "train")
    with pytest.raises(DataError, match="has masks for val but not for train: add some"):
        open_dataset(str(tmp_path))
