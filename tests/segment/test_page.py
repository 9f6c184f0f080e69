"""A served segmenter: its answers over HTTP, and the page that draws them over the picture."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from pycocotools import mask as oracle
from segmented import SEEN, STREET, card, drawn
from served import listening, strict
from torch.nn import functional
from typer.testing import CliRunner

import skipway
from skipway import bundle, hardware, models
from skipway.cli import app
from skipway.data.mask_targets import IGNORE
from skipway.deploy.serve.app import create_app
from skipway.deploy.serve.backend import BundleBackend
from skipway.deploy.serve.limits import Limits
from skipway.deploy.serve.metrics import Metrics
from skipway.deploy.serve.service import Service
from skipway.reporting.palette import palette

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # in pycocotools
CPU = hardware.decide("cpu", precision="float32", workers=0)
NETWORK = "unet_resnet18d_x0_5_light"
STEPS = 30
EVIL = "<i>sign</i>"
CLASSES = (*STREET[:3], EVIL)
RUN = CliRunner()


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose network has seen the drawn images a few times."""
    torch.manual_seed(0)
    net, (images, maps) = models.create_segmenter(NETWORK, 4), drawn(12, 4)
    inputs = SEEN.normalised(torch.stack([SEEN.fitted(torch.from_numpy(image).permute(2, 0, 1)) for image in images]))
    squashed = [Image.fromarray(labels).resize((64, 48), Image.Resampling.NEAREST) for labels in maps]
    truth = torch.from_numpy(np.stack([np.asarray(labels) for labels in squashed])).long()
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    for _ in range(STEPS):
        optimiser.zero_grad()
        functional.cross_entropy(net(inputs), truth, ignore_index=IGNORE).backward()
        optimiser.step()
    fitted = {"channels": 3, "size": 64, "resize": 64, "mean": [0.5] * 3, "std": [0.25] * 3, "fit": "pad", "height": 48}
    made = card(
        CLASSES,
        network={"name": NETWORK, "classes": 4, "channels": 3},
        preprocessing=fitted,
        metrics={"test": {"n": 12, "miou": 0.5, "miou_interval": [0.45, 0.55], "pixel_accuracy": 0.8}},
    )
    folder = tmp_path_factory.mktemp("street") / "run"
    folder.mkdir()
    bundle.write(folder, net.state_dict(), made)
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image that was learnt, three times as large."""
    file = tmp_path_factory.mktemp("photos") / "street.png"
    pixels = drawn(12, 4)[0][7]
    Image.fromarray(pixels).resize((192, 144), Image.Resampling.BILINEAR).save(file)
    return file


def decoded(mask: dict) -> np.ndarray:
    return oracle.decode({"size": mask["size"], "counts": mask["counts"].encode()}).astype(bool)


def test_the_server_answers_with_the_predicted_masks(street: Path, photo: Path) -> None:
    service = Service(BundleBackend(street, CPU, "eager", print), Limits(), Metrics())
    expected = skipway.Predictor(street, CPU).predict(photo)
    with TestClient(create_app(service)) as client:
        kind = {"Content-Type": "image/png"}
        [answer] = client.post("/v1/predict", content=photo.read_bytes(), headers=kind).json()["images"]
        assert (answer["width"], answer["height"]) == (192, 144)
        assert {one["class"]: one["share"] for one in answer["segments"]} == pytest.approx(expected.shares)
        for one in answer["segments"]:
            assert np.array_equal(decoded(one["mask"]), expected.labels == CLASSES.index(one["class"]))
        assert client.get("/v1/model").json()["fields"] == ["width", "height", "segments"]
        assert client.post("/v1/explain", content=photo.read_bytes(), headers=kind).status_code == 422
        schemas = client.get("/openapi.json").json()["components"]["schemas"]
        assert set(schemas["Segment"]["properties"]) == {"class", "share", "mask"}


def test_predict_writes_masks_drawings_and_json_of_the_same_labels(street: Path, photo: Path, tmp_path: Path) -> None:
    command = ["predict", str(street), str(photo), "--device", "cpu"]
    said = RUN.invoke(
        app, [*command, "--json", "--polygons", "--masks", str(tmp_path / "m"), "--draw", str(tmp_path / "d")]
    )
    assert said.exit_code == 0, said.output
    row = json.loads(said.stdout)
    with Image.open(tmp_path / "m" / "street.png") as picture:
        labels = np.asarray(picture)
    assert labels.shape == (144, 192)
    for one in row["segments"]:
        assert np.array_equal(decoded(one["mask"]), labels == CLASSES.index(one["class"]))
        assert all(len(outline) >= 8 for outline in one["polygons"])
    with Image.open(tmp_path / "d" / "street.jpg") as picture:
        assert picture.width == 192 and picture.height > 144


@pytest.fixture(scope="module")
def address(street: Path) -> Iterator[str]:
    with listening(street, strict(latency=60.0, body_seconds=60.0, head_seconds=60.0)) as served:
        yield served


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1280, "light")])
def test_the_page_draws_the_classes_over_the_picture_with_a_legend(
    browser: Any, address: str, street: Path, photo: Path, width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page, wrong = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text))
    page.set_default_timeout(30_000)
    page.goto(address)
    page.wait_for_selector("#intake:not([hidden])")
    page.set_input_files("#choose", str(photo))
    page.wait_for_selector("#tried > .answered")
    expected = skipway.Predictor(street, CPU).predict(photo)

    shown = page.locator(".bar-name").all_text_contents()
    assert shown == list(expected.shares), "the legend, the largest class first; markup in a name is text"
    assert page.locator(".bar-value").first.text_content() == f"{100 * next(iter(expected.shares.values())):.1f} %"
    picture, overlay = page.locator("#picture").bounding_box(), page.locator("#masks").bounding_box()
    assert overlay == pytest.approx(picture, abs=1.5), "the classes cover the picture exactly"

    def canvas() -> np.ndarray:
        """uint8 (H, W, 4), what is on the canvas."""
        uri = page.evaluate("document.querySelector('#masks').toDataURL('image/png')")
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))

    assert np.array_equal(canvas()[..., :3], palette(4)[expected.labels])
    page.locator("#opacity").fill("25")
    assert float(page.evaluate("getComputedStyle(document.querySelector('#masks')).opacity")) == 0.25
    alone = page.locator(".bar").nth(1)
    alone.click()
    label = CLASSES.index(list(expected.shares)[1])
    assert np.array_equal(canvas()[..., 3] == 255, expected.labels == label), "a chosen class is alone"
    page.locator(".bar").nth(1).click()
    assert (canvas()[..., 3] == 255).all()
    for hidden in ("#threshold-controls", "#heat-controls", "#boxes"):
        assert page.locator(hidden).is_hidden()
    assert "Mean IoU, test50.0 % (45.0 to 55.0)" in page.locator("#card").text_content()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert not wrong
    page.close()
