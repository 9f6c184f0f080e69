"""Prediction of several views gives evaluation's digits, with every kind of picture."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served import CLASSES, write_bundle

import skipway
from skipway.errors import SkipwayError
from skipway.hardware import decide

CPU = decide("cpu", workers=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """resnet20 for images of 16 pixels, cropped from 18; its temperature is 1.7."""
    return write_bundle(tmp_path_factory.mktemp("runs") / "net")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, rng = tmp_path_factory.mktemp("fruit"), np.random.default_rng(0)
    for name in CLASSES:
        (root / name).mkdir()
        for i in range(5):
            Image.fromarray(rng.integers(0, 256, (20, 26, 3), dtype=np.uint8)).save(root / name / f"{i}.png")
    return root


@pytest.mark.parametrize("protocol", ["flip", "ten-crop"])
def test_predictions_are_those_of_eval_by_the_same_protocol(run: Path, folder: Path, tmp_path: Path, protocol) -> None:
    skipway.evaluate(run, folder, out=tmp_path / "report", hardware=CPU, protocol=protocol)
    rows = json.loads((tmp_path / "report" / "report.json").read_text())["predictions"]
    files = [folder / row["name"] for row in rows]
    answers = list(skipway.Predictor(run, CPU, protocol=protocol).predict(files, top=1))
    assert [one.label for one in answers] == [row["predicted"] for row in rows]
    assert [one.probability for one in answers] == [row["probability"] for row in rows]
    single = skipway.Predictor(run, CPU).predict_proba(files)
    assert not np.allclose([one.probability for one in answers], single.max(1), atol=1e-3)


def test_an_image_and_its_mirror_image_have_the_same_probabilities(run: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    predictor = skipway.Predictor(run, CPU, protocol="flip")
    found = predictor.predict_proba([pixels, np.ascontiguousarray(pixels[:, ::-1])])
    assert np.allclose(found[0], found[1], atol=1e-5)


def test_protocols_that_do_not_apply_are_refused(run: Path) -> None:
    with pytest.raises(SkipwayError, match="flip"):
        skipway.Predictor(run, CPU, protocol="flips")
    with pytest.raises(SkipwayError, match="single views"):
        skipway.Predictor(run, CPU, protocol="flip", unsure=0.05)
