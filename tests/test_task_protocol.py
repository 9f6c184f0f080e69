"""The task protocol is a door: a task that the package does not have goes through every verb without a change of it."""

import csv
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from fastapi.testclient import TestClient
from number_task import Number, brightness
from PIL import Image
from rich.console import Console

import skipway
from skipway import hardware, tasks
from skipway.deploy.predict import writer
from skipway.deploy.serve.app import create_app
from skipway.deploy.serve.backend import BundleBackend
from skipway.deploy.serve.limits import Limits
from skipway.deploy.serve.metrics import Metrics
from skipway.deploy.serve.service import Service

CPU = hardware.decide("cpu", precision="float32", workers=0)


@pytest.fixture(scope="module", autouse=True)
def registered() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tasks.TASKS, Number.name, Number)
        yield


@pytest.fixture(scope="module")
def run(registered: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("number") / "run"
    skipway.train(
        brightness(240), "quick", folder, CPU, epochs=12, batch=24, lr=0.02, crop="none", flip=False, model="resnet20"
    )
    return folder


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("images") / "grey.png"
    Image.fromarray(np.full((16, 16, 3), 153, np.uint8)).save(file)  # 0.6
    return file


def test_it_is_trained_watched_and_judged_by_its_own_figure(run: Path) -> None:
    trained = skipway.load(run)
    assert trained.card.task == "number"
    assert trained.card.head == {"name": "linear", "outputs": 1}
    assert trained.metrics["mse"] < 0.03, "chance, always the mean, gives 0.053"
    assert [record["val_mse"] for record in trained.history][-1] == pytest.approx(trained.metrics["mse"], rel=0.05)
    best = min(trained.history, key=lambda record: record["val_mse"])
    assert any(folder.name.startswith(f"epoch-{best['epoch']:04d}") for folder in (run / "checkpoints").iterdir())
    assert "mean squared error" in (run / "README.md").read_text()


def test_its_report_has_its_figure_and_its_sections(run: Path, tmp_path: Path) -> None:
    found = skipway.evaluate(run, brightness(60, seed=1), out=tmp_path, hardware=CPU)
    page, plain = (tmp_path / "report.html").read_text(), json.loads((tmp_path / "report.json").read_text())
    assert plain["metrics"] == {"n": 60, "mse": found.metrics["mse"]}
    assert plain["task"] == "number"
    assert "Mean squared error" in page
    assert "<h2>Numbers</h2>" in page


def test_its_predictions_are_printed_and_written(
    run: Path, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = skipway.Predictor(run, CPU)
    one = predictor.predict(image)
    assert one.value == pytest.approx(0.6, abs=0.25)
    present = predictor.task.presenter
    writer.print_json_lines(predictor.predict([image]), present)
    assert json.loads(capsys.readouterr().out) == {"image": str(image), "value": one.value}
    writer.write_csv(predictor.predict([image, tmp_path / "none.png"]), present, tmp_path / "out.csv", 0)
    assert list(csv.reader((tmp_path / "out.csv").read_text().splitlines())) == [
        ["image", "value"],
        [str(image), str(one.value)],
        [str(tmp_path / "none.png"), ""],
    ]
    writer.print_table(predictor.predict([image]), present, Console())
    assert "value" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_it_is_exported_with_the_output_that_it_names(run: Path, tmp_path: Path, form: str) -> None:
    made = skipway.export(run, form, tmp_path / form)
    assert [output["name"] for output in made.evidence["outputs"]] == ["value"]
    assert all(row["agrees"] for row in made.evidence["batches"].values())
    if form == "onnx":
        session = onnxruntime.InferenceSession(made.folder / "model.onnx")
        grey = np.full((1, 3, 16, 16), 153, np.uint8)
        [value] = session.run(None, {"images": grey})
        expected = skipway.Predictor(run, CPU).predict(torch.from_numpy(grey[0])).value
        assert value[0, 0] == pytest.approx(expected, abs=1e-4)


def test_it_is_served_with_its_own_schema(run: Path, image: Path) -> None:
    backend = BundleBackend(run, CPU, "eager", print)
    app = create_app(Service(backend, Limits(), Metrics()))
    with TestClient(app) as client:
        answer = client.post("/v1/predict", content=image.read_bytes(), headers={"Content-Type": "image/png"})
        assert answer.status_code == 200
        [found] = answer.json()["images"]
        assert found["value"] == pytest.approx(skipway.Predictor(run, CPU).predict(image).value, abs=1e-5)
        schema = client.get("/openapi.json").json()["components"]["schemas"]["Answer"]
        assert "value" in schema["properties"]
        explained = client.post("/v1/explain", content=image.read_bytes(), headers={"Content-Type": "image/png"})
        assert explained.status_code == 422


def test_what_it_cannot_do_is_one_line(run: Path) -> None:
    with pytest.raises(skipway.SkipwayError, match="has no classes"):
        skipway.Predictor(run, CPU).predict_proba(torch.zeros(3, 16, 16, dtype=torch.uint8))
    with pytest.raises(skipway.SkipwayError, match="mixup and CutMix need classes"):
        skipway.train(brightness(60), "quick", run.parent / "mixed", CPU, epochs=1, mixup=0.2, model="resnet20")


def test_data_annotated_for_another_task_are_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(skipway.SkipwayError, match=r"one class an image, .*a number an image"):
        skipway.evaluate(run, "digits", out=tmp_path, hardware=CPU)
