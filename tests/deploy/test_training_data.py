"""The images that a network was trained on are found again, also where the training left some out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from skipway import bundle
from skipway.commands import evaluate
from skipway.data import open_dataset
from skipway.data.dataset import Dataset
from skipway.data.quality.corrupt import apply_policy
from skipway.data.quality.validate import check_dataset
from skipway.deploy import sample_images
from skipway.deploy.export.quantize import chosen_images

from .conftest import CLASSES, MakeRun


@pytest.fixture
def skipped(make_run: MakeRun, make_photos, tmp_path: Path) -> tuple[Path, Dataset]:
    """A run whose training skipped a corrupt file, and what it was trained on."""
    data = make_photos(tmp_path / "photos", classes=CLASSES, each=3)
    (data / CLASSES[0] / "broken.jpg").write_bytes(b"no image")
    dataset = open_dataset(str(data))
    left = apply_policy(dataset, check_dataset(dataset), "skip")
    assert len(left.train) == len(dataset.train) - 1
    run = make_run(tmp_path / "run")
    known = {"name": str(data), "fingerprint": left.fingerprint, "left_out": [list(pair) for pair in left.left_out]}
    bundle.seal(run, replace(bundle.read_card(run), data=known))
    return run, left


def test_what_the_training_left_out_is_left_out_again(skipped: tuple[Path, Dataset]) -> None:
    run, left = skipped
    card = bundle.read_card(run)
    assert sample_images.source_of(card, None).fingerprint == card.data["fingerprint"]
    assert evaluate.dataset_of(None, card)[1] == card.data["fingerprint"]
    assert sample_images.at_hand(card, (), None, 50).origin == f"{len(left.train)} images of train of {left.name}"
    calibration, judged = chosen_images(card, None)  # as --int8 takes them: the corrupt file is not opened
    assert len(calibration.inputs[0]) + len(judged.inputs[0]) == len(left.train)


def test_the_data_are_read_as_the_training_read_them(make_run: MakeRun, make_photos, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", classes=CLASSES, each=2)
    table = tmp_path / "table.csv"
    files = sorted(photos.rglob("*.jpg"))
    lines = [f"{file.relative_to(tmp_path)},{file.parent.name},{i % 2}" for i, file in enumerate(files)]
    table.write_text("\n".join(["image,animal,label", *lines]) + "\n")
    run = make_run(tmp_path / "run")
    known = {"name": str(table), "fingerprint": "", "reading": {"label_column": "animal"}}
    card = replace(bundle.read_card(run), data=known)
    dataset, mark = evaluate.dataset_of(str(table), card)
    assert dataset.classes == tuple(CLASSES)
    card = replace(card, data={**known, "fingerprint": mark})
    assert evaluate.dataset_of(None, card)[1] == mark
    assert np.array_equal(sample_images.source_of(card, None).train.labels, dataset.train.labels)
