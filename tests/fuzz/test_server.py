"""Bodies of requests: whatever they hold, the answer is no 5xx, and a refusal is one line."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from generated import write_generator
from hypothesis import example, given
from hypothesis import strategies as st
from served import picture, strict, write_bundle
from starlette.testclient import TestClient

from skipway import hardware
from skipway.deploy.generate.generator import Generator
from skipway.deploy.serve.app import create_app
from skipway.deploy.serve.backend import BundleBackend
from skipway.deploy.serve.generation import GenerationService
from skipway.deploy.serve.metrics import Metrics
from skipway.deploy.serve.service import Service
from tests.fuzz.changes import COUNTS, changed, damaged, require_one_line

PATIENT = strict(latency=120.0, answer_seconds=120.0, body_seconds=60.0)
PICTURE = picture(8, 8)
FORM = "multipart/form-data; boundary=b"
TYPES = st.sampled_from(
    [FORM] * 12
    + ["multipart/form-data", 'multipart/form-data; boundary="', "multipart/form-data; boundary=" + "b" * 300]
    + ["multipart/form-data; boundary=b; charset=x", "multipart/mixed; boundary=b", "text/html", "image/jpeg", ""]
)
DISPOSITIONS = st.sampled_from(
    [
        'form-data; name="images"; filename="a.jpg"',
        'form-data; name="images"',
        'form-data; name="images"; filename="../\0\n"',
        f"form-data; name=images; filename={'x' * 5000}",
        'form-data; name="images"; name="images"',
        "form-data; name*=utf-8''images",
        'form-data; name="x"',
        "form-data",
        "attachment",
        ";;;=",
        '"',
        "",
    ]
)
LINES = st.sampled_from(["", "X: y\r\n", "X" * 9000 + ": y\r\n", ": \r\n", "no colon\r\n", "X: y\r\n" * 300, "\r\n"])
DAMAGED = damaged(PICTURE)
CONTENTS = st.sampled_from([PICTURE, b"", b"--b--\r\n", b"\r\n--b\r\n", PICTURE[:60], b"\0" * 900]) | DAMAGED
PARTS = st.builds(
    lambda disposition, lines, content: (
        f"--b\r\nContent-Disposition: {disposition}\r\n{lines}\r\n".encode(errors="replace") + content + b"\r\n"
    ),
    DISPOSITIONS,
    LINES,
    CONTENTS,
)
WHOLE = b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n' + PICTURE + b"\r\n--b--\r\n"
FORMS = damaged(WHOLE) | st.builds(
    lambda parts, end: b"".join(parts) + end,
    st.lists(PARTS, max_size=6),
    st.sampled_from([b"--b--\r\n", b"", b"--b--", b"--b", b"--b--\r\nmore"]),
)
WANTED: dict[str, Any] = {"class": "ape", "n": 1, "seed": 3, "first": 0, "guidance": 1.5, "steps": 2, "solver": "euler"}
ACCEPTS = st.sampled_from(["application/json", "application/x-ndjson", "image/png", "*/*", "", "text/html;q=x", "\xff"])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    run = write_bundle(tmp_path_factory.mktemp("fuzz") / "fruit")
    service = Service(BundleBackend(run, hardware.decide("cpu"), "eager", lambda line: None), PATIENT, Metrics())
    with TestClient(create_app(service, ""), raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def generator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    run = write_generator(tmp_path_factory.mktemp("fuzz") / "animals")
    drawing = Generator(run, hardware.decide("cpu", precision="float32", workers=0))
    few = strict(evaluations=4, generated=2, generation_seconds=120.0, answer_seconds=120.0, body_seconds=60.0)
    app = create_app(GenerationService(drawing, few, Metrics()), "")
    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened


def answered(client: TestClient, path: str, body: bytes, headers: dict[str, str]) -> None:
    """An answer below 500; a refusal says why in one line."""
    answer = client.post(path, content=body, headers={name: value.encode("latin-1") for name, value in headers.items()})
    assert answer.status_code < 500, (answer.status_code, answer.text)
    COUNTS["accepted" if answer.status_code == 200 else "refused"] += 1
    if answer.status_code != 200:
        detail = answer.json()["detail"]
        require_one_line(detail)
        assert "Traceback" not in detail


def test_forms(client: TestClient) -> None:
    @example(WHOLE, FORM)
    @given(FORMS, TYPES)
    def check(body: bytes, kind: str) -> None:
        answered(client, "/v1/predict", body, {"Content-Type": kind} if kind else {})

    check()


def test_json(generator: TestClient) -> None:
    bodies = st.one_of(
        changed(WANTED).map(lambda found: json.dumps(found).encode()),
        damaged(json.dumps(WANTED).encode()),
        st.sampled_from(
            [b"", b"null", b"[]", b"[" * 5000, b'{"n": 1e999}', b'{"n": NaN}', b"\xff\xfe", b'{"seed": 1.0}']
        ),
    )
    kinds = st.sampled_from(["application/json"] * 6 + ["application/json; charset=utf-16", "text/json", ""])

    @example(json.dumps(WANTED).encode(), "application/json", "application/json")
    @given(bodies, kinds, ACCEPTS)
    def check(body: bytes, kind: str, accept: str) -> None:
        answered(generator, "/v1/generate", body, {"Content-Type": kind, "Accept": accept})

    check()
