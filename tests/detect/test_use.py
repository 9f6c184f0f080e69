"""A trained detector in use: the same objects by every way, in every file, over HTTP and on the page."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from served import listening, strict
from shapes import SHAPES, shapes
from torchvision.ops import batched_nms, box_iou
from typer.testing import CliRunner

import skipway
from skipway import bundle
from skipway.cli import app
from skipway.deploy.serve.app import create_app
from skipway.deploy.serve.backend import BundleBackend
from skipway.deploy.serve.limits import Limits
from skipway.deploy.serve.metrics import Metrics
from skipway.deploy.serve.service import Service

from .conftest import CPU

RUN = CliRunner()


def truths() -> list[tuple[np.ndarray, list[str]]]:
    targets = shapes().train.targets
    rows = [targets.rows(i) for i in range(len(targets))]
    return [(targets.boxes[r], [SHAPES[i] for i in targets.labels[r]]) for r in rows]


def test_the_objects_of_the_images_are_found_in_their_own_pixels(learnt: Path, pictures: list[Path]) -> None:
    """The first file is twice as large as the image that was learnt: so are its boxes."""
    found = list(skipway.Predictor(learnt, CPU).predict(pictures))
    right = 0
    for i, (prediction, (boxes, labels)) in enumerate(zip(found, truths(), strict=True)):
        scale = 1 if i else 2
        assert prediction.size == (96 * scale, 96 * scale)
        overlaps = box_iou(torch.tensor(boxes * scale), torch.tensor([one.box for one in prediction.objects]).double())
        best = overlaps.argmax(1)
        same = [prediction.objects[j].label == label for j, label in zip(best.tolist(), labels, strict=True)]
        right += int((overlaps.max(1).values > 0.6).all() and all(same))
    assert right >= 14
    assert "objects: " in repr(found[0])


def test_predictions_are_those_of_the_evaluation(learnt: Path, pictures: list[Path]) -> None:
    report = json.loads((learnt / "report.json").read_text())
    threshold = bundle.read_card(learnt).calibration["threshold"]
    images = list(shapes().train.items)
    for row, prediction in zip(report["predictions"], skipway.Predictor(learnt, CPU).predict(images), strict=True):
        expected = [one for one in row["objects"] if one[1] >= threshold]
        got = [[one.label, one.score, *(round(side, 2) for side in one.box)] for one in prediction.objects]
        assert got == expected


def test_a_lower_threshold_finds_more_and_is_checked(learnt: Path, pictures: list[Path]) -> None:
    predictor = skipway.Predictor(learnt, CPU)
    usual, more = predictor.predict(pictures[1]), predictor.predict(pictures[1], threshold=0.05)
    assert len(more.objects) > len(usual.objects)
    assert more.objects[: len(usual.objects)] == usual.objects
    with pytest.raises(skipway.SkipwayError, match="threshold must be from 0 to 1"):
        predictor.predict(pictures[1], threshold=2.0)


def test_json_csv_coco_and_drawings_say_the_same(learnt: Path, pictures: list[Path], tmp_path: Path) -> None:
    files = [str(file) for file in pictures[:3]] + [str(tmp_path / "none.png")]
    command = ["predict", str(learnt), *files, "--device", "cpu"]
    said = RUN.invoke(app, [*command, "--json"])
    assert said.exit_code == 1, "one of the images is missing"
    rows = [json.loads(line) for line in said.stdout.splitlines()]
    assert RUN.invoke(app, [*command, "--csv", str(tmp_path / "o.csv")]).exit_code == 1
    table = list(csv.DictReader((tmp_path / "o.csv").read_text().splitlines()))
    drawn = ["--coco", str(tmp_path / "o.json"), "--draw", str(tmp_path / "drawn")]
    assert RUN.invoke(app, [*command, *drawn]).exit_code == 1
    coco = json.loads((tmp_path / "o.json").read_text())
    objects = [(row["image"], one["class"], one["score"]) for row in rows for one in row["objects"]]
    assert objects, "nothing was found"
    assert [(r["image"], r["class"], float(r["score"])) for r in table if r["class"]] == objects
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    classes = {one["id"]: one["name"] for one in coco["categories"]}
    assert [(names[a["image_id"]], classes[a["category_id"]], a["score"]) for a in coco["annotations"]] == objects
    assert table[-1]["image"] == files[-1] and table[-1]["class"] == ""
    assert sorted(file.name for file in (tmp_path / "drawn").iterdir()) == ["00.jpg", "01.jpg", "02.jpg"]
    with Image.open(tmp_path / "drawn" / "00.jpg") as picture, Image.open(pictures[0]) as original:
        assert picture.size == original.size
        changed = np.abs(np.asarray(picture).astype(int) - np.asarray(original).astype(int)).max(2) > 60
    box = rows[0]["objects"][0]["box"]
    left, top, right = (round(box[side]) for side in ("left", "top", "right"))
    assert changed[top : top + 2, left:right].mean() > 0.5, "the box's upper side is drawn where the box is"


@pytest.mark.parametrize("option", ["--draw", "--coco"])
def test_nothing_is_replaced(option: str, learnt: Path, pictures: list[Path], tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    if option == "--draw":
        taken.mkdir()
        (taken / "x").touch()
    else:
        taken.touch()
    said = RUN.invoke(app, ["predict", str(learnt), str(pictures[0]), option, str(taken)])
    assert said.exit_code == 2 or isinstance(said.exception, skipway.SkipwayError)
    assert f"choose another {option}" in said.output + str(said.exception)


@pytest.mark.parametrize("form", ["onnx", "openvino", "torch"])
def test_an_export_finds_the_same_objects(form: str, learnt: Path, pictures: list[Path], tmp_path: Path) -> None:
    made = skipway.export(learnt, form, tmp_path / form, images=[str(file) for file in pictures])
    assert all(row["agrees"] and row["objects"] >= 16 for row in made.evidence["batches"].values())
    shapes_of = {output["name"]: output["shape"] for output in made.evidence["outputs"]}
    assert shapes_of["boxes"] == [*shapes_of["scores"], 4]
    if form != "onnx":
        return
    session = onnxruntime.InferenceSession(made.folder / "model.onnx")
    predictor = skipway.Predictor(learnt, CPU)
    fitted = predictor.preprocessing.open(pictures[1], "one").unsqueeze(0)
    boxes, scores, labels = (torch.from_numpy(o[0]) for o in session.run(None, {"images": fitted.numpy()}))
    sure = scores >= 0.3
    kept = batched_nms(boxes[sure], scores[sure], labels[sure], 0.6)
    found = predictor.predict(pictures[1], threshold=0.3).objects
    assert scores[sure][kept].tolist() == pytest.approx([one.score for one in found], abs=1e-4)
    assert boxes[sure][kept].numpy() == pytest.approx(np.array([one.box for one in found]), abs=0.1)


def test_the_report_has_every_part(learnt: Path) -> None:
    page, plain = (learnt / "report.html").read_text(), json.loads((learnt / "report.json").read_text())
    assert plain["task"] == "detect"
    assert plain["metrics"]["ap50"] > 0.95
    assert {row["class"] for row in plain["per_class"]} == set(SHAPES)
    assert set(plain["errors"]) == {"class", "place", "both", "duplicate", "background", "missed"}
    counts = np.array(plain["confusion"]["matrix"])
    objects = [int((shapes().train.targets.labels == i).sum()) for i in range(2)]
    assert counts[:2].sum(1).tolist() == objects, "every object is in one cell of its row"
    for heading in ("Average precision", "Errors", "Classes", "Images"):
        assert f"{heading}</h2>" in page
    assert "http" not in re.sub(r"https?://[^\"' ]*w3\.org[^\"' ]*", "", page).split("</style>")[-1]


def test_two_runs_are_compared_by_a_paired_bootstrap(learnt: Path, tmp_path: Path) -> None:
    found = skipway.compare_runs([learnt, learnt], shapes(), split="train", out=tmp_path, hardware=CPU)
    plain = json.loads((tmp_path / "comparison.json").read_text())
    [against] = plain["against_first"]
    assert (against["difference"], against["interval"], against["significant"]) == (0, [0, 0], False)
    assert "No significant difference" in found.verdict()
    assert "<h1>" in (tmp_path / "comparison.html").read_text()


def test_it_is_served_with_boxes_in_pixels_of_what_was_sent(learnt: Path, pictures: list[Path]) -> None:
    service = Service(BundleBackend(learnt, CPU, "eager", print), Limits(), Metrics())
    expected = skipway.Predictor(learnt, CPU).predict(pictures[0])
    with TestClient(create_app(service)) as client:
        content, kind = pictures[0].read_bytes(), {"Content-Type": "image/png"}
        [one] = client.post("/v1/predict", content=content, headers=kind).json()["images"]
        assert (one["width"], one["height"]) == (192, 192)
        assert [o["class"] for o in one["objects"]] == [o.label for o in expected.objects]
        assert one["objects"][0]["box"]["left"] == pytest.approx(expected.objects[0].box[0], abs=0.01)
        [more] = client.post("/v1/predict?threshold=0.05", content=content, headers=kind).json()["images"]
        assert len(more["objects"]) > len(one["objects"])
        assert client.post("/v1/predict?threshold=2", content=content, headers=kind).status_code == 422
        assert client.post("/v1/explain", content=content, headers=kind).status_code == 422
        schema = client.get("/openapi.json").json()["components"]["schemas"]
        assert set(schema["FoundObject"]["properties"]) == {"class", "score", "box", "mask"}


@pytest.fixture(scope="module")
def address(learnt: Path) -> Iterator[str]:
    with listening(learnt, strict(latency=60.0, body_seconds=60.0, head_seconds=60.0)) as served:
        yield served


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_draws_boxes_and_the_slider_hides_the_doubtful(
    browser: Any, address: str, learnt: Path, pictures: list[Path], width: int
) -> None:
    page, wrong = browser.new_page(viewport={"width": width, "height": 900}), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text))
    page.set_default_timeout(30_000)
    page.goto(address)
    page.wait_for_selector("#intake:not([hidden])")
    page.set_input_files("#choose", str(pictures[0]))
    page.wait_for_selector("#tried > .answered")
    page.wait_for_selector("#boxes rect")

    def boxes() -> int:
        return page.locator("#boxes g").count()

    usual = boxes()
    assert usual == len(skipway.Predictor(learnt, CPU).predict(pictures[0]).objects)
    picture, overlay = page.locator("#picture").bounding_box(), page.locator("#boxes").bounding_box()
    assert overlay == pytest.approx(picture, abs=1.5), "the boxes cover the picture exactly"
    page.locator("#threshold").fill("0.05")
    assert boxes() > usual
    page.locator("#threshold").fill("0.95")
    assert boxes() <= usual
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not wrong
    page.close()
