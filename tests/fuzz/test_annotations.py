"""Annotation files: whatever they hold, opening them is refused in one line, or gives a data set that can be used."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data import boxes, masks
from tests.fuzz.changes import damaged
from tests.fuzz.data_sets import check_file, some_json

PICTURES = [
    boxes.Picture("a", 50, 40, [("ant", 5, 5, 25, 30), ("mule", 1, 1, 20, 20)]),
    boxes.Picture("b", 60, 40, [("zebra", 10, 8, 30, 28), ("ant", 20, 10, 50, 36)]),
]
SCENES = masks.scenes(4)


@pytest.mark.parametrize(
    ("write", "name", "is_json"),
    [
        (boxes.write_coco, "instances.json", True),
        (boxes.write_voc, "Annotations/b.xml", False),
        (boxes.write_yolo, "labels/b.txt", False),
        (boxes.write_yolo, "classes.txt", False),
    ],
)
def test_annotations_of_boxes(write: Callable[[Any, Path], Path], name: str, is_json: bool, tmp_path: Path) -> None:
    root = write(PICTURES, tmp_path / "set")
    file = root / name
    check_file(root, file, some_json(file) if is_json else damaged(file.read_bytes()))


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (masks.write_folders, "masks/im00.png"),
        (masks.write_folders, "classes.txt"),
        (masks.write_colours, "label_colors.txt"),
        (masks.write_coco, "annotations/instances_train.json"),
    ],
)
def test_masks_and_their_classes(write: Callable[[Any, Path], Path], name: str, tmp_path: Path) -> None:
    root = write(SCENES, tmp_path / "set")
    file = root / name
    check_file(root, file, some_json(file) if name.endswith("json") else damaged(file.read_bytes()))
