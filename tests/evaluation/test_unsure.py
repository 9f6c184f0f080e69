"""A training stores thresholds for unsure answers, and predict and eval use them."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typed import Skipway, command_line, refused

import skipway as package
from skipway.commands import train
from skipway.hardware import decide
from skipway.training.recipes import QUICK

CPU = decide("cpu", workers=0)


@pytest.fixture
def skipway(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Skipway:
    return command_line(monkeypatch, capsys, tmp_path)


def test_a_trained_digits_network_marks_unsure_answers_and_far_images_are_measured(skipway, tmp_path: Path) -> None:
    run = train.train("digits", QUICK, tmp_path / "net", CPU, epochs=4, batch=64, val=0.3).path
    points = package.load(run).card.metrics["val"]["operating_points"]
    assert points
    rng = np.random.default_rng(0)
    (tmp_path / "new").mkdir()
    for i in range(20):
        Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)).save(tmp_path / "new" / f"{i:02d}.png")
    code, out, _ = skipway("predict", str(run), "new", "--unsure", str(points[0]["error"]), "--json")
    assert code == 0
    for line in out.splitlines():
        row = json.loads(line)
        assert row["unsure"] == (row["classes"][0]["probability"] < points[0]["threshold"])
    refused(skipway("predict", str(run), "new", "--unsure", "0.0000001"), "give --unsure one of")
    code, out, _ = skipway("eval", str(run), "--far", "new", "--out", "report")
    assert code == 0
    assert "far new, 20 images: AUROC" in out
    refused(skipway("eval", str(run), "--far", "new", "--protocol", "flip"), "leave out --protocol")
    report = json.loads(Path("report/report.json").read_text())
    assert report["far"][0]["n"] == 20
    assert [row["threshold"] for row in report["unsure"]] == [point["threshold"] for point in points]
    assert "Images of other kinds" in Path("report/report.html").read_text()


def test_far_images_are_for_classifiers_of_one_class(tmp_path: Path) -> None:
    from skipway.evaluation.far import require_scores
    from skipway.tasks import task_named

    with pytest.raises(package.SkipwayError, match="--far"):
        require_scores(task_named("tag", ("a", "b")))
