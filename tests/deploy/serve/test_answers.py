"""What the server answers is what `predict` answers; and what stands around it."""

import html
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import torch
from PIL import Image
from served import CLASSES, LIMITS, SIDE, picture, strict
from starlette.testclient import TestClient

from skipway import bundle
from skipway.deploy.predict.predictor import Predictor
from skipway.deploy.serve.app import create_app
from skipway.deploy.serve.backend import BundleBackend
from skipway.deploy.serve.metrics import Metrics
from skipway.deploy.serve.service import Service
from skipway.hardware import decide

JPEG = {"Content-Type": "image/jpeg"}
ClientOf = Callable[..., TestClient]


def form(*images: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("images", (f"{i}.jpg", image)) for i, image in enumerate(images)]


def test_answers_are_those_of_predict_digit_for_digit(client: TestClient, fruit: Path) -> None:
    images = [picture(40 + i, 30, i) for i in range(4)]
    expected = list(Predictor(fruit, decide("cpu")).predict(images, top=3))
    answer = client.post("/v1/predict?top=3", files=form(*images)).json()
    assert [each["name"] for each in answer["images"]] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    for each, prediction in zip(answer["images"], expected, strict=True):
        assert tuple((c["class"], c["probability"]) for c in each["classes"]) == prediction.classes
        assert each["error"] == ""
    assert len({each["classes"][0]["class"] for each in answer["images"]}) > 1
    assert answer["seconds"] > 0


def test_a_raw_body_gets_the_same_answer_as_a_form(client: TestClient) -> None:
    image = picture(seed=3)
    as_form = client.post("/v1/predict", files=form(image)).json()["images"][0]
    for kind in ("image/jpeg", "application/octet-stream", "IMAGE/PNG; x=y"):  # the content says what it is
        raw = client.post("/v1/predict", content=image, headers={"Content-Type": kind}).json()["images"][0]
        assert raw["classes"] == as_form["classes"]


def test_every_kind_of_image_that_is_named_is_read(client_of: ClientOf, fruit: Path) -> None:
    """AVIF in a process, the others in a thread, with the digits of `predict` either way."""
    kinds = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
    images = [picture(kind=kind) for kind in kinds]
    expected = list(Predictor(fruit, decide("cpu")).predict(images))
    with client_of(strict(latency=120.0, answer_seconds=120.0)) as client:
        for kind, image, prediction in zip(kinds, images, expected, strict=True):
            answer = client.post("/v1/predict", content=image, headers=JPEG)
            assert answer.status_code == 200, (kind, answer.text)
            (found,) = answer.json()["images"]
            assert tuple((c["class"], c["probability"]) for c in found["classes"]) == prediction.classes, kind


def test_one_unreadable_image_leaves_the_others_answered(client: TestClient) -> None:
    answer = client.post("/v1/predict", files=form(picture(seed=1), picture()[:200], picture(seed=2)))
    assert answer.status_code == 200
    good, bad, other = answer.json()["images"]
    assert good["classes"] and other["classes"]
    assert bad["classes"] == []
    assert bad["error"].startswith("1.jpg cannot be read")
    alone = client.post("/v1/predict", files=form(picture()[:200], b"text"))
    assert alone.status_code == 422
    assert alone.json()["detail"].startswith("0.jpg cannot be read")


def test_an_image_lies_upright_as_its_camera_says(client: TestClient) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    image = Image.open(io.BytesIO(picture(kind="PNG", seed=5)))
    turned, told = io.BytesIO(), io.BytesIO()
    image.transpose(Image.Transpose.ROTATE_270).save(turned, "PNG")
    image.save(told, "PNG", exif=exif)
    first, second = (client.post("/v1/predict", content=one.getvalue(), headers=JPEG).json() for one in (turned, told))
    assert first["images"] == second["images"]


def test_the_first_frame_of_an_animation_is_taken(client: TestClient) -> None:
    frames = [Image.open(io.BytesIO(picture(seed=seed))) for seed in (1, 2)]
    stream, still = io.BytesIO(), io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    frames[0].save(still, "GIF")
    moving, first = (client.post("/v1/predict", content=one.getvalue(), headers=JPEG).json() for one in (stream, still))
    assert moving["images"] == first["images"]


def test_the_card_is_told_with_the_limits(client: TestClient) -> None:
    model = client.get("/v1/model").json()
    assert model["network"] == "resnet20"
    assert model["classes"] == CLASSES
    assert (model["size"], model["channels"]) == (SIDE, 3)
    assert model["calibration"]["temperature"] == 1.7
    assert model["metrics"]["val"]["top1"] == 0.25
    assert model["limits"]["body_bytes"] == LIMITS.body_bytes


@pytest.mark.parametrize(("width", "height"), [(40, 30), (30, 64), (3000, 20)])
def test_an_explanation_is_the_photograph_with_the_unseen_dimmed(
    client_of: ClientOf, answerer: BundleBackend, width: int, height: int
) -> None:
    class Blind(BundleBackend):
        """Sees heat nowhere, so that what remains of the picture is known."""

        def __init__(self) -> None:
            self.__dict__ |= answerer.__dict__

        def heat(self, image: object, target: int) -> np.ndarray:
            return np.zeros((SIDE, SIDE), dtype=np.float32)

    with client_of(strict(pixels=200_000), answerer=Blind()) as client:
        white = Image.new("RGB", (width, height), "white")
        stream = io.BytesIO()
        white.save(stream, "PNG")
        answer = client.post("/v1/explain", content=stream.getvalue(), headers=JPEG)
    assert answer.headers["content-type"] == "image/webp"
    assert unquote(answer.headers["x-class"]) in CLASSES
    shown = np.asarray(Image.open(io.BytesIO(answer.content)).convert("L")).astype(int)
    scale = min(1, 1024 / max(width, height))
    assert shown.shape == (round(height * scale), round(width * scale))
    bright = shown > (shown.min() + shown.max()) / 2
    rows, columns = np.flatnonzero(bright.any(1)), np.flatnonzero(bright.any(0))
    side = min(width, height) * scale * 16 / 18  # the crop of 16 from 18 pixels
    assert rows[-1] - rows[0] + 1 == pytest.approx(side, abs=2)
    assert columns[-1] - columns[0] + 1 == pytest.approx(side, abs=2)
    assert (columns[0] + columns[-1]) / 2 == pytest.approx(shown.shape[1] / 2, abs=2)


def test_explanations_of_two_classes_differ_and_leave_predictions_as_they_were(client: TestClient) -> None:
    image = picture(64, 64, seed=4)
    before = client.post("/v1/predict", content=image, headers=JPEG).json()["images"]
    shown = [
        client.post("/v1/explain", params={"class": name}, content=image, headers=JPEG).content
        for name in (CLASSES[0], CLASSES[3], CLASSES[0])
    ]
    assert shown[0] != shown[1]
    assert shown[0] == shown[2]
    assert client.post("/v1/predict", content=image, headers=JPEG).json()["images"] == before
    best = client.post("/v1/explain", content=image, headers=JPEG)
    assert unquote(best.headers["x-class"]) == before[0]["classes"][0]["class"]
    refused = client.post("/v1/explain?class=Gurke", content=image, headers=JPEG)
    assert refused.status_code == 422
    assert refused.json()["detail"].startswith("there is no class of that name")


@pytest.mark.parametrize("task", ["classify", "tag"])
def test_the_class_that_is_explained_has_the_highest_score_where_probabilities_are_all_1(
    fruit: Path, tmp_path: Path, task: str
) -> None:
    folder = shutil.copytree(fruit, tmp_path / "fruit")
    bundle.seal(folder, replace(bundle.read_card(fruit), task=task, metrics={}, summaries={}))
    backend = BundleBackend(folder, decide("cpu"), "eager", lambda line: None)
    assert backend.target((torch.tensor([40.0, 60.0, 50.0, 0.0]),)) == 1


def test_health_readiness_and_counts(client_of: ClientOf) -> None:
    with client_of() as client:
        assert client.get("/healthz").json() == {"status": "alive"}
        assert client.get("/readyz").json() == {"status": "ready"}
        for _ in range(3):
            client.post("/v1/predict", files=form(picture(), picture(seed=1)))
        client.post("/v1/predict", content=b"text", headers=JPEG)
        client.get("/no/such/path")
        counted = client.get("/metrics")
    assert counted.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = counted.text.splitlines()
    assert 'skipway_requests_total{path="/v1/predict",status="200"} 3.0' in lines
    assert 'skipway_requests_total{path="/v1/predict",status="422"} 1.0' in lines
    assert 'skipway_requests_total{path="other",status="404"} 1.0' in lines
    assert 'skipway_images_total{outcome="answered"} 6.0' in lines
    assert "skipway_images_inside 0.0" in lines
    assert "/no/such" not in counted.text


def test_not_ready_before_the_network_has_answered(client_of: ClientOf) -> None:
    assert client_of().get("/readyz").status_code == 503  # outside of its context an application has not begun


def test_every_answer_carries_the_safe_headers(client: TestClient) -> None:
    answers = [
        client.get("/"),
        client.get("/app.js"),
        client.get("/v1/model"),
        client.get("/nothing"),
        client.post("/v1/predict", content=b"x"),
    ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "server" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
    assert answers[2].headers["cache-control"] == "no-store"


def test_the_page_and_health_answer_head_as_they_do_get_without_the_body(client: TestClient) -> None:
    for path in ("/", "/app.js", "/healthz", "/readyz"):
        asked = client.head(path)
        assert asked.status_code == 200
        assert asked.headers["content-length"] == client.get(path).headers["content-length"]
        assert path not in client.get("/openapi.json").json()["paths"].get("head", {})


def test_a_server_of_this_machine_alone_answers_no_page_from_elsewhere(answerer: BundleBackend) -> None:
    with TestClient(create_app(Service(answerer, LIMITS, Metrics()), local=True)) as client:
        for host in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
            own = {"Host": host, "Origin": f"http://{host}"}
            assert client.get("/v1/model", headers={"Host": host}).status_code == 200
            assert client.post("/v1/predict", content=picture(), headers=JPEG | own).status_code == 200
            for origin in ("http://evil.example", "null", "http://localhost.evil.example", f"http://evil@{host}"):
                foreign = {"Host": host, "Origin": origin}
                assert client.post("/v1/predict", content=picture(), headers=JPEG | foreign).status_code == 403
        for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil", "", "[", "x"):
            refused = client.get("/v1/model", headers={"Host": host})
            assert refused.status_code == 403, host
            assert list(refused.json()) == ["detail"]


def test_with_a_key_only_the_page_and_health_are_for_everyone(client_of: ClientOf) -> None:
    with client_of(key="sesame-42") as client:
        for path in ("/", "/style.css", "/app.js", "/healthz", "/readyz"):
            assert client.get(path).status_code == 200
        for headers in ({}, {"X-API-Key": "sesame-4"}, {"X-API-Key": "sésame"}, {"Authorization": "Bearer x"}):
            encoded = {name: value.encode() for name, value in headers.items()}
            for method, path in (
                ("GET", "/v1/model"),
                ("GET", "/metrics"),
                ("GET", "/openapi.json"),
                ("POST", "/v1/predict"),
                ("POST", "/v1/explain"),
            ):
                answer = client.request(method, path, headers=encoded)
                assert answer.status_code == 401, path
                assert answer.headers["www-authenticate"] == "Bearer"
        for headers in ({"X-API-Key": "sesame-42"}, {"Authorization": "Bearer sesame-42"}):
            assert client.get("/v1/model", headers=headers).status_code == 200
            assert "/v1/predict" in client.get("/openapi.json", headers=headers).json()["paths"]
            assert client.post("/v1/predict", files=form(picture()), headers=headers).status_code == 200


def test_the_page_asks_for_nothing_elsewhere() -> None:
    folder = Path(__file__).resolve().parents[3] / "src" / "skipway" / "deploy" / "serve" / "page"
    for file in folder.iterdir():
        text = file.read_text().replace("http://www.w3.org/2000/svg", "").replace("'http://www.w3.org/2000/svg'", "")
        assert "http:" not in text and "https:" not in text and "@import" not in text, file.name
        assert "innerHTML" not in text and " style=" not in text, file.name


def test_names_of_files_come_back_as_one_harmless_line(client: TestClient) -> None:
    files = [("images", ("../../etc/\x1b[31mpass\nwd.jpg", picture()))]
    name = client.post("/v1/predict", files=files).json()["images"][0]["name"]
    assert "/" not in name and "\n" not in name and "\x1b" not in name
    assert name.endswith("wd.jpg")
    assert json.loads(json.dumps(name)) == name


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/predict", 404), ("GET", "/v1/predict", 405), ("PUT", "/metrics", 405)]
)
def test_a_path_or_method_that_is_none_says_where_to_go(
    client: TestClient, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert list(answer.json()) == ["detail"]
    assert "curl -F images=@photo.jpg http://testserver/v1/predict" in answer.json()["detail"]
    assert "/docs lists what there is" in answer.json()["detail"]
    assert status != 405 or answer.headers["allow"]


def test_docs_names_every_operation_and_loads_nothing_from_elsewhere(client: TestClient, client_of: ClientOf) -> None:
    answer = client.get("/docs")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method in operations:
            assert f"<code>{method.upper()} {path}</code>" in answer.text
    assert "curl -F images=@photo.jpg http://testserver/v1/predict" in answer.text
    assert "<script" not in answer.text
    assert 'href="openapi.json"' in answer.text
    evil = client.get("/docs", headers={"Host": "<b>x"})
    assert "<b>" not in evil.text
    with client_of(key="sesame-42") as guarded:
        text = html.unescape(guarded.get("/docs").text)
        assert 'curl -H "X-API-Key: $API_KEY" -F' in text
        assert "sesame-42" not in text
