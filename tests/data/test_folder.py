"""Folders of class folders, whole or split, and every way in which one can be no data set."""

from collections.abc import Callable
from pathlib import Path

import pytest

from skipway.data import open_dataset
from skipway.data.formats.folder import open_folder
from skipway.errors import DataError


def fill(root: Path, *files: str) -> Path:
    """Files at those places below `root`; their contents do not matter, for opening a folder opens no image."""
    root.mkdir(exist_ok=True)
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"image")
    return root


def test_class_folders_are_classes_in_name_order(photo_folder: Path) -> None:
    dataset = open_dataset(str(photo_folder))
    assert dataset.classes == ("across", "down", "slant")
    assert dataset.train.counts(3).tolist() == [8, 8, 8]
    assert dataset.val is None
    assert dataset.test is None
    for item, label, name in zip(dataset.train.items, dataset.train.labels, dataset.train.names, strict=True):
        assert item.parent.name == dataset.classes[label]
        assert name == f"{item.parent.name}/{item.name}"


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [("train", "val", "test"), ("Training", "validation", "Testing"), ("TRAIN", "valid", "test")],
)
def test_split_folders_are_splits(tmp_path: Path, train: str, val: str, test: str) -> None:
    fill(
        tmp_path,
        f"{train}/a/1.jpg",
        f"{train}/b/2.jpg",
        f"{train}/b/3.jpg",
        f"{val}/b/4.jpg",
        f"{test}/a/5.jpg",
        f"{test}/b/6.jpg",
    )
    dataset = open_folder(tmp_path)
    assert dataset.classes == ("a", "b")
    assert list(dataset.train.names) == [f"{train}/a/1.jpg", f"{train}/b/2.jpg", f"{train}/b/3.jpg"]
    assert dataset.train.labels.tolist() == [0, 1, 1]
    assert dataset.val.labels.tolist() == [1], "a split may lack a class, and keeps the others' numbers"
    assert dataset.test.labels.tolist() == [0, 1]


def test_hidden_files_other_files_and_deeper_folders_are_as_one_expects(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.JPG", "a/deep/2.png", "a/notes.txt", "a/._1.jpg", "b/3.webp", ".git/c/4.jpg")
    dataset = open_folder(tmp_path)
    assert dataset.classes == ("a", "b")
    assert list(dataset.train.names) == ["a/1.JPG", "a/deep/2.png", "b/3.webp"]


Make = Callable[[Path], object]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda root: fill(root), "no class folders of images"),
        (lambda root: fill(root, "notes.txt"), "no class folders of images"),
        (lambda root: fill(root, "1.jpg", "2.jpg"), "2 images but no class folders"),
        (lambda root: fill(root, "a/notes.txt", "b/notes.txt"), "no images in its 2 folders: supported suffixes are ."),
        (lambda root: fill(root, "a/1.jpg", "b/notes.txt"), "class folders without images: b"),
        (
            lambda root: fill(root, "train/a/1.jpg", "train/b/2.jpg", "test/c/3.jpg"),
            "class folders that are not in train: c",
        ),
        (lambda root: fill(root, "train/a/1.jpg", "train/b/2.jpg", "val/a/x.txt"), "has no image"),
        (lambda root: fill(root, "test/a/1.jpg", "val/b/2.jpg"), "has val, test but no train folder"),
        (lambda root: fill(root, "train/1.jpg"), "1 images but no class folders"),
    ],
)
def test_a_folder_that_is_no_data_set_is_refused_by_name(tmp_path: Path, make: Make, words: str) -> None:
    root = tmp_path / "mine"
    make(root)
    with pytest.raises(DataError) as caught:
        open_dataset(str(root))
    assert str(root) in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_test_folder_of_loose_images_is_said_to_lack_class_folders(tmp_path: Path) -> None:
    fill(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "test/3.jpg")
    with pytest.raises(DataError, match=r"test has .*class folders"):
        open_folder(tmp_path)


@pytest.mark.parametrize("extra", ["loose.jpg", "extra/1.jpg"])
def test_images_beside_the_splits_are_not_dropped_in_silence(tmp_path: Path, extra: str) -> None:
    # A class called "train" (of vehicles, say) beside "car" would otherwise lose "car" without a word.
    fill(tmp_path, "train/a/1.jpg", "train/b/2.jpg", extra)
    with pytest.raises(DataError, match=extra.split("/")[0].split(".")[0]):
        open_folder(tmp_path)


def test_loose_images_beside_class_folders_are_not_dropped_in_silence(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.jpg", "b/2.jpg", "loose.jpg")
    with pytest.raises(DataError, match="loose"):
        open_folder(tmp_path)


def test_links_that_lead_nowhere_are_no_classes(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", "a/1.jpg", "b/2.jpg")
    (root / "round").symlink_to(root / "round")
    (root / "gone").symlink_to("nowhere")
    assert open_folder(root).classes == ("a", "b")


def test_classes_differ_by_name_when_folders_are_linked(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", "1.jpg", "2.jpg")
    fill(tmp_path / "set", "a/0.jpg")
    (tmp_path / "set" / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert open_folder(tmp_path / "set").train.labels.tolist() == [0, 1, 1]
