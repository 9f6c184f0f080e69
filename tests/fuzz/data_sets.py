"""Data sets of which one file is damaged, or was changed on purpose."""

import json
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from skipway.data import open_dataset
from skipway.data.box_targets import BoxTargets
from skipway.data.dataset import Dataset
from skipway.data.mask_targets import MaskTargets
from tests.fuzz.changes import changed, damaged, refused_in_one_line

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
