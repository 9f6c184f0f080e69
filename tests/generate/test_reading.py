"""Data sets of every kind as images to generate."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipway.data import open_dataset
from skipway.data.dataset import require_learnable, with_validation
from skipway.data.image_targets import GenerationTargets
from skipway.data.read_options import ReadOptions
from skipway.errors import DataError, SkipwayError

GENERATE = ReadOptions(task="generate")


def images(folder: Path, count: int, start: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(start, start + count):
        Image.fromarray(np.full((12, 12, 3), i * 7 % 256, np.uint8)).save(folder / f"{i:03d}.png")


def test_class_folders_keep_their_classes(tmp_path: Path) -> None:
    images(tmp_path / "cat", 4)
    images(tmp_path / "dog", 6, 4)
    dataset = open_dataset(str(tmp_path), GENERATE)
    assert (dataset.task, dataset.classes) == ("generate", ("cat", "dog"))
    assert dataset.train.labels.tolist() == open_dataset(str(tmp_path)).train.labels.tolist()
    assert dataset.reading == GENERATE


def test_one_class_folder_is_enough(tmp_path: Path) -> None:
    images(tmp_path / "cat", 4)
    assert require_learnable(open_dataset(str(tmp_path), GENERATE)).classes == ("cat",)
    with pytest.raises(DataError, match="only one class"):
        require_learnable(open_dataset(str(tmp_path)))


def test_a_folder_of_images_has_no_classes(tmp_path: Path) -> None:
    images(tmp_path, 20)
    dataset = open_dataset(str(tmp_path), GENERATE)
    assert (dataset.classes, len(dataset.train), dataset.val) == ((), 20, None)
    cut = with_validation(dataset, 0.1, 0)
    assert (len(cut.train), len(cut.val or ())) == (18, 2)
    with pytest.raises(DataError, match="no class folders"):
        open_dataset(str(tmp_path))


def test_splits_of_images_without_classes_are_splits(tmp_path: Path) -> None:
    images(tmp_path / "train", 5)
    images(tmp_path / "val", 3, 5)
    dataset = open_dataset(str(tmp_path), GENERATE)
    assert {name: len(split) for name, split in dataset.splits.items()} == {"train": 5, "val": 3}
    assert dataset.classes == ()


def test_digits_keep_images_and_classes() -> None:
    plain, dataset = open_dataset("digits"), open_dataset("digits", GENERATE)
    assert dataset.classes == plain.classes
    for name, split in plain.splits.items():
        assert np.array_equal(split.items, dataset.split(name).items)
        assert np.array_equal(split.labels, dataset.split(name).labels)
        assert isinstance(dataset.split(name).targets, GenerationTargets)


def test_boxes_and_label_maps_are_left_behind(shared_data: Path) -> None:
    dataset = open_dataset(str(shared_data / "bccd"), GENERATE)
    assert (dataset.task, dataset.classes) == ("generate", ())
    assert len(dataset.train) == len(open_dataset(str(shared_data / "bccd")).train)


def test_a_task_that_the_data_do_not_suit_is_refused(tmp_path: Path) -> None:
    images(tmp_path / "cat", 2)
    images(tmp_path / "dog", 2)
    assert open_dataset(str(tmp_path), ReadOptions(task="classify")).task == "classify"
    with pytest.raises(SkipwayError, match="annotated for the task classify: leave out --task, or give generate"):
        open_dataset(str(tmp_path), ReadOptions(task="segment"))


def test_one_image_is_too_few(tmp_path: Path) -> None:
    images(tmp_path, 1)
    with pytest.raises(DataError, match="has 1 image: a generator needs at least 2"):
        require_learnable(open_dataset(str(tmp_path), GENERATE))


def test_no_image_at_all_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no images: add some or remove it$"):
        open_dataset(str(tmp_path), GENERATE)
