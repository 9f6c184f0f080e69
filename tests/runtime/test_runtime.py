"""Exports are predicted with as their own runtimes answer with torch around them; the rest is refused in one line."""

import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from served import CLASSES, picture, serving, strict

from skipway.data.preprocess import Preprocessing
from skipway.deploy.export.folder import write_sums
from skipway.deploy.export.formats import FORMATS
from skipway.deploy.predict.predictor import Predictor
from skipway.errors import SkipwayError
from skipway.runtime import cli
from skipway.runtime.predictor import ExportPredictor
from skipway.runtime.serving import ExportSettings


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_answers_are_those_of_the_export_with_torch(
    form: str, photographs: list[Path], request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(form)
    predictor = ExportPredictor(folder)
    card = predictor.network.card
    preprocessing, runner = Preprocessing(**card.preprocessing), FORMATS[form].runner(folder)
    for found, file in zip(predictor.predict(photographs, top=4), photographs, strict=True):
        probabilities = runner(preprocessing.open(file, "x").unsqueeze(0))["probabilities"][0]
        best = probabilities.topk(4)
        assert found.classes == tuple(zip([CLASSES[i] for i in best.indices], best.values.tolist(), strict=True))
        assert found.name == str(file)


def test_answers_are_those_of_the_run(onnx: Path, run: Path, photographs: list[Path]) -> None:
    ours, theirs = ExportPredictor(onnx).predict(photographs), Predictor(run).predict(photographs)
    for found, expected in zip(ours, theirs, strict=True):
        assert found.label == expected.label
        assert found.probability == pytest.approx(expected.probability, abs=1e-5)


def test_one_image_is_one_answer_whatever_it_is_given_as(onnx: Path, photographs: list[Path]) -> None:
    predictor, file = ExportPredictor(onnx), photographs[0]
    pixels = np.asarray(Image.open(file))
    answers = [predictor.predict(one).classes for one in (file, str(file), file.read_bytes(), pixels)]
    assert answers == [answers[0]] * 4
    with pytest.raises(SkipwayError, match="image 0 is of type int"):
        list(predictor.predict([7]))
    with pytest.raises(SkipwayError, match="top is 0: give at least 1"):
        predictor.predict(file, top=0)


def test_unreadable_images_are_named_and_the_others_answered(
    onnx: Path, photographs: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(photographs[0].read_bytes()[:300])
    (tmp_path / "clip.mp4").write_bytes(b"")
    files = [tmp_path / "broken.jpg", photographs[0], tmp_path / "clip.mp4", tmp_path / "missing.jpg"]
    found = list(ExportPredictor(onnx).predict(files))
    assert [bool(one.error) for one in found] == [True, False, True, True]
    assert "use `skipway predict`" in found[2].error


def command(*arguments: object) -> int:
    return cli.run([str(one) for one in arguments])


def test_the_table_is_that_of_skipway_predict(
    onnx: Path, photographs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("predict", onnx, *photographs[:2], "--top", 2) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["image", "class", "probability", "next"]


def test_json_and_csv_hold_the_same_figures(
    onnx: Path, photographs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    assert command("predict", onnx, photographs[0], broken, photographs[1], "--json", "--top", 2) == 1
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["image"] for row in rows] == [str(photographs[0]), str(broken), str(photographs[1])]
    assert "broken.png" in rows[1]["error"]
    assert "1 of 3 images could not be read" in err
    file = tmp_path / "out.csv"
    assert command("predict", onnx, photographs[0], broken, photographs[1], "--csv", file, "--top", 2) == 1
    table = list(csv.reader(io.StringIO(file.read_text())))
    assert table[0] == ["image", "class", "probability", "class_2", "probability_2"]
    for row, cells in zip(rows, table[1:], strict=True):
        flat = [str(value) for one in row["classes"] for value in (one["class"], one["probability"])]
        assert cells == [row["image"], *(flat or [""] * 4)]


def changed(file: str, change: Callable[[bytes], bytes], sums: bool = False) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / file).write_bytes(change((folder / file).read_bytes()))
        if sums:
            write_sums(folder)

    return apply


def field(name: str, value: object) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps({**json.loads(content), name: value}).encode()


WRONG: dict[str, tuple[Callable[[Path], None], str]] = {
    "model": (changed("model.onnx", lambda content: content[:-9] + b"#" * 9), "was changed since it was proven"),
    "card": (changed("card.json", lambda content: content.replace(b"Apfel", b"Affe!")), "was changed since"),
    "sums": (lambda folder: (folder / "SHA256SUMS").unlink(), "is no whole export"),
    "evidence": (lambda folder: (folder / "evidence.json").unlink(), "is no export"),
    "no graph": (changed("model.onnx", lambda content: b"x" * 50, sums=True), "model.onnx cannot be read"),
    "size": (
        changed("card.json", lambda content: content.replace(b'"size": 16', b'"size": 99999999'), sums=True),
        "preprocessing.size must be an integer from 1",
    ),
    "text": (changed("card.json", lambda content: b"[" * 9000, sums=True), "is not a card"),
    "form": (changed("evidence.json", field("format", "torch"), sums=True), "--format onnx or openvino"),
    "inputs": (changed("evidence.json", field("inputs", 7), sums=True), "does not describe an export"),
    "task": (changed("card.json", field("task", "generate"), sums=True), "use `skipway generate`"),
    "unknown": (changed("card.json", field("task", "number"), sums=True), "the task number is not one of"),
}


@pytest.mark.parametrize("what", list(WRONG))
def test_changed_and_hostile_exports_are_refused_in_one_line(what: str, onnx: Path, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    shutil.copytree(onnx, folder)
    change, message = WRONG[what]
    change(folder)
    with pytest.raises(SkipwayError) as fault:
        ExportPredictor(folder)
    assert message in str(fault.value)
    assert "\n" not in str(fault.value)


def test_runs_and_missing_folders_are_named_as_such(run: Path, onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(SkipwayError, match="is a run, not an export"):
        ExportPredictor(run)
    with pytest.raises(SkipwayError, match="does not exist"):
        ExportPredictor(tmp_path / "nothing")
    with pytest.raises(SkipwayError, match="is an export, not a run"):
        Predictor(onnx)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict"], "export"),
        (["predict", "EXPORT", "PHOTO", "--top", "many"], "--top"),
        (["predict", "EXPORT", "PHOTO", "--top", "0"], "top is 0"),
        (["predict", "EXPORT", "PHOTO", "--threshold", "2"], "threshold is 2.0: give one from 0 to 1"),
        (["predict", "EXPORT", "PHOTO", "--json", "--csv", "x.csv"], "exclude each other"),
        (["predict", "EXPORT", "nothing/*.jpg"], "nothing"),
        (["serve", "EXPORT", "--port", "70000"], "70000"),
        (["serve", "nothing"], "nothing does not exist"),
        (["eat", "EXPORT"], "eat"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(
    arguments: list[str], message: str, onnx: Path, photographs: list[Path]
) -> None:
    places = {"EXPORT": str(onnx), "PHOTO": str(photographs[0])}
    with pytest.raises(SkipwayError, match=message) as fault:
        cli.run([places.get(one, one) for one in arguments])
    assert "\n" not in str(fault.value)


@contextmanager
def serving_export(folder: Path, key: str = "") -> Iterator[str]:
    patient = strict(latency=120.0, answer_seconds=120.0)  # decoding processes start slowly on a busy machine
    settings = ExportSettings(folder, "cpu", "", 1, 2, patient, key)
    with serving(settings) as address:
        yield address


def test_the_server_answers_as_predict_does(onnx: Path) -> None:
    images = [picture(seed=i) for i in range(3)]
    expected = [ExportPredictor(onnx).predict(image).classes for image in images]
    with serving_export(onnx, key="secret") as address:
        with httpx.Client(base_url=address, headers={"X-API-Key": "secret"}, timeout=60) as client:
            sent = [("images", (f"{i}.jpg", image, "image/jpeg")) for i, image in enumerate(images)]
            answer = client.post("/v1/predict", files=[*sent, ("images", ("x.jpg", b"no image"))]).json()["images"]
            for row, classes in zip(answer, expected, strict=False):
                assert [one["class"] for one in row["classes"]] == [name for name, _ in classes]
                assert [one["probability"] for one in row["classes"]] == pytest.approx(
                    [p for _, p in classes], abs=1e-6
                )
            assert answer[3]["error"]
            assert client.get("/v1/model").json()["classes"] == CLASSES
            assert client.get("/readyz").json() == {"status": "ready"}
            assert client.get("/").headers["content-type"].startswith("text/html")
            assert "skipway_images_total" in client.get("/metrics").text
            explained = client.post("/v1/explain", content=images[0], headers={"Content-Type": "image/jpeg"})
            assert (explained.status_code, "is an export" in explained.text) == (422, True)
        assert httpx.post(f"{address}/v1/predict", content=images[0]).status_code == 401


def test_an_image_that_a_process_decodes_is_answered(onnx: Path) -> None:
    """A TIFF is not quick by its header."""
    image = picture(kind="TIFF", compression="jpeg")
    with serving_export(onnx) as address:
        answer = httpx.post(f"{address}/v1/predict", content=image, headers={"Content-Type": "image/tiff"}, timeout=120)
    [row] = answer.json()["images"]
    assert row["classes"][0]["class"] == ExportPredictor(onnx).predict(image).label
