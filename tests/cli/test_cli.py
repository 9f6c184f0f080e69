"""The command line: what it prints, and what it answers to wrong input."""

import csv
import json
import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import typed
from PIL import Image

from skipway import cli

refused = partial(typed.refused, after_check=True)  # the data are checked before training says no


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A digits network of one epoch."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr("sys.argv", ["skipway", "train", "digits", "--epochs", "1", "--out", str(out), "--device", "cpu"])
        cli.main()
    assert ended.value.code == 0
    return out


def image(file: Path, side: int = 8) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(len(file.name)).integers(0, 255, (side, side, 3), dtype=np.uint8)).save(file)
    return file


def test_unknown_names_are_answered_with_the_nearest(skipway) -> None:
    refused(skipway("trian", "digits"), "train")
    refused(skipway("train", "digits", "--recipe", "quik"), "did you mean 'quick'")
    refused(skipway("train", "digits", "--model", "resnet21"), "did you mean 'resnet")
    refused(skipway("train", "digits", "--epocs", "3"), "--epochs")
    refused(skipway("train", "digitz"), "did you mean 'digits'")
    refused(skipway("show", "resnet5"), "did you mean 'resnet5")
    refused(skipway("list", "vgg99"), "unknown model 'vgg99'")


def test_values_that_cannot_be_are_refused(skipway) -> None:
    refused(skipway("train", "digits", "--epochs", "-1"), "--epochs must not be negative")
    refused(skipway("train", "digits", "--epochs", "many"), "--epochs must be a whole number, not 'many'")
    refused(skipway("train", "digits", "--size", "2"), "too small for resnet20")
    refused(skipway("train", "digits", "--pad", "8"), "--pad 8 is too large for images of 8 pixels")
    refused(skipway("train", "digits", "--device", "abacus"), "device 'abacus' is not available")
    refused(skipway("train", "digits", "--precision", "float8"), "not one of auto, float32, bfloat16")
    refused(skipway("train", "digits", "--resume"), "'--resume' requires an argument")


def test_folders_that_are_no_data_set_are_refused_by_name(skipway, tmp_path: Path) -> None:
    refused(skipway("train", "no/such"), "no/such does not exist")
    (tmp_path / "empty").mkdir()
    refused(skipway("train", "./empty"), "no class folders")
    for name in ("a", "b"):
        (tmp_path / "texts" / name).mkdir(parents=True)
        (tmp_path / "texts" / name / "x.txt").write_text("text")
    refused(skipway("train", "./texts"), "no image")
    image(tmp_path / "lonely" / "only" / "1.png")
    refused(skipway("train", "./lonely"), "only one class ('only')")


def test_an_unreadable_training_image_is_named(skipway, tmp_path: Path) -> None:
    for name in ("a", "b"):
        for i in range(3):
            image(tmp_path / "photos" / name / f"{i}.png")
    bad = tmp_path / "photos" / "b" / "1.png"
    bad.write_bytes(bad.read_bytes()[:60])
    refused(skipway("train", "./photos", "--epochs", "1"), "b/1.png cannot be read")


def test_a_folder_that_holds_something_is_not_written_to(skipway, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    refused(skipway("train", "digits", "--epochs", "1", "--out", "mine"), "mine is not empty")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_place_without_permission_is_refused(skipway, tmp_path: Path) -> None:
    if os.geteuid() == 0:  # permission bits do not bind root; a file in the way stops anyone
        (tmp_path / "locked").write_text("")
        refused(skipway("train", "digits", "--epochs", "1", "--out", "locked/run"), "cannot be written")
        return
    (tmp_path / "locked").mkdir(mode=0o500)
    refused(skipway("train", "digits", "--epochs", "1", "--out", "locked/run"), "cannot be written")


def test_a_bundle_with_a_changed_byte_is_refused(skipway, trained: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(trained, copy)
    content = bytearray((copy / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "weights.safetensors").write_bytes(content)
    refused(skipway("predict", "copy", "x.png"), "weights.safetensors was changed")
    refused(skipway("eval", "copy"), "weights.safetensors was changed")
    refused(skipway("eval", "nowhere"), "nowhere does not exist")


def test_debug_shows_the_traceback(skipway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["skipway", "--debug", "show", "resnet5"])
    with pytest.raises(Exception, match="unknown model"):
        cli.main()


def test_predict_prints_tables_json_and_csv(skipway, trained: Path, tmp_path: Path) -> None:
    files = [image(tmp_path / "new" / f"{i}.png") for i in range(2)]
    code, out, _ = skipway("predict", str(trained), "new")
    assert code == 0
    assert "0.png" in out
    code, out, _ = skipway("predict", str(trained), "new/*.png", "--json", "--top", "10")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["image"] for line in lines] == [f"new/{file.name}" for file in files]
    assert all(abs(sum(c["probability"] for c in line["classes"]) - 1) < 1e-5 for line in lines)
    code, _, _ = skipway("predict", str(trained), *map(str, files), "--csv", "out.csv")
    rows = list(csv.DictReader((tmp_path / "out.csv").read_text().splitlines()))
    assert [row["class"] for row in rows] == [line["classes"][0]["class"] for line in lines]
    refused(skipway("predict", str(trained), "new", "--csv", "out.csv"), "out.csv exists")


def test_predict_answers_the_rest_and_exits_with_1(skipway, trained: Path, tmp_path: Path) -> None:
    image(tmp_path / "good.png")
    (tmp_path / "bad.png").write_text("no image")
    code, out, err = skipway("predict", str(trained), "bad.png", "good.png", "missing.png", "--json")
    assert code == 1
    assert [bool(json.loads(line)["classes"]) for line in out.splitlines()] == [False, True, False]
    assert "bad.png is not an image" in err
    assert "missing.png" in err
    assert "2 of 3" in err


def test_eval_writes_a_report_with_the_promised_fields(skipway, trained: Path) -> None:
    code, out, _ = skipway("eval", str(trained), "--json", "--out", "judged")
    assert code == 0
    report = json.loads(Path("judged/report.json").read_text())
    assert (report["split"], report["n"]) == ("test", 360)
    assert report["metrics"]["top1"] == json.loads(out)["metrics"]["top1"]
    assert len(report["per_class"]) == 10
    assert report["seconds"] > 0
    assert report["metrics"]["top5"] >= report["metrics"]["top1"]
    assert (Path("judged") / "report.html").stat().st_size > 10_000


def test_list_and_show_give_the_papers_counts(skipway) -> None:
    _, out, _ = skipway("list", "resnet50", "--json")
    assert json.loads(out)[0]["parameters"] == 25_557_032
    _, out, _ = skipway("show", "resnet50", "--json")
    shown = json.loads(out)
    assert shown["parameters"] == sum(row["parameters"] for row in shown["layers"]) == 25_557_032
    assert shown["multiply_adds"] == pytest.approx(4.089e9, rel=0.005)  # torchvision's published figure
    code, out, _ = skipway("show", "resnet20")
    assert code == 0
    assert "269,722" in out


def test_doctor_gives_a_reason_for_every_decision(skipway) -> None:
    _, out, _ = skipway("doctor", "--json")
    rows = {row["what"]: row for row in json.loads(out)}
    for what in ("device", "precision", "memory format", "compile", "threads", "workers"):
        assert rows[what]["why"]
