"""Annotation files: whatever they hold, opening them is refused in one line, or gives a data set that can be used."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from PIL import Image

from skipway.data import open_dataset
from skipway.data.box_targets import BoxTargets
from skipway.data.dataset import Dataset
from skipway.data.mask_targets import MaskTargets
from tests.data import boxes, masks
from tests.fuzz.changes import changed, damaged, refused_in_one_line

PICTURES = [
    boxes.Picture("a", 50, 40, [("ant", 5, 5, 25, 30), ("mule", 1, 1, 20, 20)]),
    boxes.Picture("b", 60, 40, [("zebra", 10, 8, 30, 28), ("ant", 20, 10, 50, 36)]),
]
SCENES = masks.scenes(4)
CELLS = st.sampled_from(
    ["", "a.png", "../a.png", "/etc/passwd", "x" * 300, "\x1b[2J", "=1+1", '"', "nan", "a;b", "\x00", "-1"]
)


def used(place: Path | str) -> Dataset:
    """What training reads of a data set before its first step."""
    dataset = open_dataset(str(place))
    assert len(dataset.fingerprint) == 64
    assert len(set(dataset.classes)) == len(dataset.classes)
    for split in dataset.splits.values():
        targets = split.targets
        targets.facts(dataset.classes)
        if isinstance(targets, BoxTargets):
            assert np.isfinite(targets.boxes).all()
            assert ((targets.labels >= 0) & (targets.labels < len(dataset.classes))).all()
        if isinstance(targets, MaskTargets) and len(targets):
            targets.take(np.arange(len(targets))).tensor()
    return dataset


def check_file(root: Path, file: Path, contents: SearchStrategy[bytes]) -> None:
    """Opens `root` with `contents` in the place of the annotation file `file`; as it was, it can be used."""
    assert refused_in_one_line(lambda: used(root)) is not None

    @given(contents)
    def check(content: bytes) -> None:
        file.write_bytes(content)
        refused_in_one_line(lambda: used(root))

    check()


def some_json(file: Path) -> SearchStrategy[bytes]:
    document = json.loads(file.read_text())
    return changed(document).map(lambda found: json.dumps(found).encode()) | damaged(file.read_bytes())


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


def test_tables(tmp_path: Path) -> None:
    for i, name in enumerate(("a.png", "b.png", "c.png")):
        Image.fromarray(np.full((9, 9, 3), 20 * i, np.uint8)).save(tmp_path / name)
    file = tmp_path / "table.csv"
    text = "file,label\na.png,ant\nb.png,bee\nc.png,ant\n"
    file.write_text(text)
    assert refused_in_one_line(lambda: used(file)) is not None
    rows = st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=6).map("\n".join)

    @example(b"file,label\n" + b"x" * 300 + b",ant\n")  # found: a name longer than file systems have
    @given(damaged(text.encode()) | rows.map(lambda found: (text + found).encode()) | rows.map(str.encode))
    def check(content: bytes) -> None:
        file.write_bytes(content)
        refused_in_one_line(lambda: used(file))

    check()
