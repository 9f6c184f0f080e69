"""A served generator: the images are those of `Generator`, in every form of the answer; limits; and who goes away."""

import base64
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from generated import CLASSES, write_generator
from PIL import Image
from served import LIMITS, connected, heard, listening, strict
from starlette.testclient import TestClient
from torch import Tensor
from typer.testing import CliRunner

from skipway import hardware
from skipway.cli import app as command_line
from skipway.deploy.generate.generator import Generator
from skipway.deploy.generate.pictures import image_png
from skipway.deploy.generate.request import GeneratedImage, GenerationRequest
from skipway.deploy.serve import server
from skipway.deploy.serve.app import create_app
from skipway.deploy.serve.generation import GenerationService
from skipway.deploy.serve.limits import Limits
from skipway.deploy.serve.metrics import Metrics
from skipway.errors import SkipwayError
from skipway.tasks.generate.sampler import SamplingOptions

CPU = hardware.decide("cpu", precision="float32", workers=0)
SHORT = {"steps": 3, "solver": "euler"}
OPTIONS = SamplingOptions(steps=3, solver="euler", guidance=1.5)
LINES = {"Accept": "application/x-ndjson"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("runs") / "animals")


@pytest.fixture(scope="module")
def generator(run: Path) -> Generator:
    return Generator(run, CPU)


def application(generator: Generator, limits: Limits = LIMITS, key: str = "") -> TestClient:
    app = create_app(GenerationService(generator, limits, Metrics()), key)
    return TestClient(app, raise_server_exceptions=False)


@pytest.fixture(scope="module")
def client(generator: Generator) -> Iterator[TestClient]:
    with application(generator) as opened:
        yield opened


def with_net(generator: Generator, net: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Generator:
    """The generator with another velocity."""
    changed = copy(generator)
    changed.sampler = replace(generator.sampler, net=net)
    return changed


class Gate:
    """A velocity of 0 that waits, from its third call on, until it is opened; calls before are the server's start."""

    def __init__(self) -> None:
        self.opened, self.reached, self.calls = threading.Event(), threading.Event(), 0

    def __call__(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > 2:
            self.reached.set()
            assert self.opened.wait(20)
        return x * 0


def ask(client: TestClient | httpx.Client, headers: dict[str, str] | None = None, **wanted: Any) -> Any:
    return client.post("/v1/generate", json=SHORT | wanted, headers=headers)


def refusal(client: TestClient, status: int, **wanted: Any) -> str:
    """The sentence with which a request is refused."""
    answer = ask(client, **wanted)
    assert answer.status_code == status, answer.text[:500]
    assert list(answer.json()) == ["detail"]
    assert "\n" not in answer.json()["detail"]
    return answer.json()["detail"]


def pngs(answer: Any) -> list[bytes]:
    return [base64.b64decode(image["png"]) for image in answer.json()["images"]]


def events(answer: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


def drawn(generator: Generator, *classes: str, **given: int) -> list[GeneratedImage]:
    return list(generator.generate(GenerationRequest(classes, options=OPTIONS, **given)))


def counted(client: TestClient, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


@contextmanager
def listening_to(generator: Generator, limits: Limits = LIMITS) -> Iterator[str]:
    """The address of a server with `generator` in place of its bundle's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "service_for", lambda _: GenerationService(generator, limits, Metrics()))
        with listening(generator.folder, limits) as address:
            yield address


def until(true: Callable[[], bool]) -> None:
    """Wait for what happens in another thread."""
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# images


def test_the_files_are_those_of_generator_to_the_byte_alone_and_among_others(
    client: TestClient, generator: Generator
) -> None:
    expected = drawn(generator, n=20, seed=7)
    answer = ask(client, n=4, seed=7, first=16)
    assert pngs(answer) == [image_png(image) for image in expected[16:]]
    [alone] = ask(client, n=1, seed=7, first=17).json()["images"]
    assert alone == answer.json()["images"][1]
    assert (alone["index"], alone["class"], alone["seed"]) == (17, expected[17].label, 7)
    again = ask(client, n=1, seed=7, first=17, **{"class": alone["class"]})
    assert pngs(again) == [image_png(expected[17])], "with the class that it has in turn"
    assert pngs(ask(client, n=4, seed=8, first=16)) != pngs(answer)


def test_the_files_are_those_of_the_command_line(client: TestClient, run: Path, tmp_path: Path) -> None:
    command = ["generate", str(run), "--class", "cat", "--n", "2", "--seed", "5", "--steps", "3", "--solver", "euler"]
    said = CliRunner().invoke(command_line, [*command, "--out", f"{tmp_path}/", "--device", "cpu"])
    assert said.exit_code == 0, said.output
    answer = ask(client, n=2, seed=5, **{"class": "cat"})
    assert pngs(answer) == [(tmp_path / f"cat-{index}.png").read_bytes() for index in (0, 1)]


def test_an_image_comes_with_its_facts_in_the_answer_and_in_the_file(client: TestClient, generator: Generator) -> None:
    answer = ask(client, n=2, seed=3, first=4, guidance=2, classes=["bee", "none"], solver="midpoint")
    assert answer.json()["evaluations"] == 2 * SamplingOptions(3, "midpoint", 2.0).evaluations
    for image, png, name in zip(answer.json()["images"], pngs(answer), ("bee", "none"), strict=True):
        with Image.open(io.BytesIO(png)) as opened:
            assert opened.text == image["text"]  # type: ignore[attr-defined]
            assert opened.size == (8, 8)
        assert image["text"]["weights"] == generator.card.weights_sha256
        facts = {"seed": "3", "class": name, "guidance": "2", "steps": "3", "solver": "midpoint"}
        assert facts.items() <= image["text"].items()
        assert image["class"] == (None if name == "none" else name)
    assert [image["text"]["index"] for image in answer.json()["images"]] == ["4", "5"]


def test_one_png_is_the_grid_of_the_same_images(client: TestClient) -> None:
    answer = ask(client, {"Accept": "image/png"}, n=4, **{"class": "ape"})
    assert answer.headers["content-type"] == "image/png"
    with Image.open(io.BytesIO(answer.content)) as sheet:
        assert sheet.text["index"] == "0-3"  # type: ignore[attr-defined]
        corner = np.asarray(sheet)[:64:8, :64:8]  # a pixel of the image is 8 x 8 in the grid
    with Image.open(io.BytesIO(pngs(ask(client, n=1, **{"class": "ape"}))[0])) as first:
        assert np.array_equal(corner, np.asarray(first))


def test_by_default_images_are_guided_where_there_are_classes(client: TestClient) -> None:
    default = ask(client)
    assert default.json()["images"][0]["text"]["guidance"] == "1.5"
    assert pngs(default) == pngs(ask(client, guidance=1.5)) != pngs(ask(client, guidance=1))


def test_a_generator_without_classes_in_colour(tmp_path: Path) -> None:
    plain = Generator(write_generator(tmp_path / "plain", [], 3, (6, 10)), CPU)
    with application(plain) as client:
        [image] = ask(client, n=1).json()["images"]
        assert image["class"] is None and image["text"]["guidance"] == "1"
        with Image.open(io.BytesIO(base64.b64decode(image["png"]))) as opened:
            assert (opened.mode, opened.size) == ("RGB", (10, 6))
        assert "trained without classes" in refusal(client, 422, **{"class": "ape"})
        assert "trained without classes" in refusal(client, 422, guidance=2)
        assert client.get("/v1/model").json()["classes"] == []


# one by one


def test_the_stream_tells_progress_and_images_in_order_and_ends(client: TestClient) -> None:
    answer = ask(client, LINES, n=4, seed=7)
    assert answer.headers["content-type"] == "application/x-ndjson"
    told = events(answer)
    kinds = [event["event"] for event in told]
    assert kinds == ["progress"] * 3 + ["image"] * 4 + ["done"]
    evaluations = OPTIONS.evaluations
    assert [event["done"] for event in told[:3]] == [evaluations // 3, 2 * evaluations // 3, evaluations]
    assert {event["of"] for event in told[:3]} == {evaluations}
    pictures = [{name: value for name, value in event.items() if name != "event"} for event in told[3:7]]
    assert pictures == ask(client, n=4, seed=7).json()["images"]
    assert (told[-1]["images"], told[-1]["evaluations"]) == (4, 4 * evaluations)


def test_images_of_a_batch_are_sent_before_the_next_is_drawn(generator: Generator) -> None:
    gate = Gate()
    halves = with_net(generator, gate)
    halves.sampler = replace(halves.sampler, batch=2)
    with listening_to(halves) as address, httpx.Client(base_url=address, timeout=20) as client:
        gate.calls = -3 if gate.calls == 2 else 0  # the first batch of 3 evaluations without a wait, and two calls more
        wanted = SHORT | {"n": 4, "guidance": 1}
        with client.stream("POST", "/v1/generate", json=wanted, headers=LINES) as answer:
            told = []
            for line in answer.iter_lines():
                told.append(json.loads(line))
                if told[-1]["event"] == "image" and told[-1]["index"] == 1:
                    assert gate.reached.wait(20) and not gate.opened.is_set()
                    gate.opened.set()
        assert [event["index"] for event in told if event["event"] == "image"] == [0, 1, 2, 3]
        assert [event["done"] for event in told if event["event"] == "progress"] == [1, 2, 3, 4, 5, 6]


def test_what_fails_in_a_stream_is_its_last_line(generator: Generator) -> None:
    calls = [0]

    def infinite(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        calls[0] += 1
        return x * (float("inf") if calls[0] > 2 else 0)

    def broken(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        calls[0] += 1
        if calls[0] > 2:
            raise RuntimeError("the device is lost")
        return x * 0

    with application(with_net(generator, infinite)) as client:
        last = events(ask(client, LINES, guidance=1))[-1]
        assert last["event"] == "failed" and "not finite" in last["detail"]
        assert "not finite" in refusal(client, 422, guidance=1)
    calls[0] = 0
    with application(with_net(generator, broken)) as client:
        last = events(ask(client, LINES, guidance=1))[-1]
        assert last["event"] == "failed" and "log" in last["detail"] and "device" not in last["detail"]
        assert "device" not in refusal(client, 500, guidance=1)
        assert client.get("/readyz").status_code == 200


# limits


def test_a_request_for_too_much_is_refused_in_one_line(client: TestClient, generator: Generator) -> None:
    assert "n is 1,000,000, and 64 images are allowed" in refusal(client, 422, n=1_000_000)
    assert "n" in refusal(client, 422, n=10**30)
    with application(generator, strict(evaluations=100)) as narrow:
        assert ask(narrow, n=16, guidance=2).status_code == 200  # 96
        told = refusal(narrow, 422, n=17, guidance=2)
        assert "17 images of 6 network evaluations each are more than the 100 evaluations" in told
        assert ask(narrow, n=33, guidance=1).status_code == 200  # 99
        assert "evaluations" in refusal(narrow, 422, n=34, guidance=1)
        assert "evaluations" in refusal(narrow, 422, n=1, steps=1000)
        assert narrow.get("/v1/model").json()["limits"]["evaluations"] == 100


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"class": "kat"}, "unknown class 'kat': did you mean 'cat'?"),
        ({"classes": ["ape", "bea"]}, "unknown class 'bea': did you mean 'bee'?"),
        ({"class": "ape", "classes": ["bee"]}, "send one of them"),
        ({"classes": []}, "classes: "),
        ({"class": "x" * 10_000}, "class: "),
        ({"classes": ["x" * 10_000]}, "classes: "),
        ({"n": 0}, "n: "),
        ({"n": "4"}, "n: "),
        ({"seed": -1}, "seed: "),
        ({"seed": 2**53}, "seed: "),
        ({"first": -1}, "first: "),
        ({"first": 2**53}, "first: "),
        ({"steps": 0}, "steps: "),
        ({"steps": 10**6}, "steps: "),
        ({"guidance": -1}, "guidance: "),
        ({"guidance": 1e9}, "guidance: "),
        ({"solver": "huen"}, "did you mean 'heun'?"),
        ({"colour": "red"}, "colour: "),
    ],
)
def test_what_cannot_be_is_named(client: TestClient, wanted: dict[str, Any], said: str) -> None:
    assert said in refusal(client, 422, **wanted)


def test_numbers_up_to_the_largest_that_json_keeps_exact(client: TestClient, generator: Generator) -> None:
    largest = 2**53 - 1
    [expected] = drawn(generator, n=1, seed=largest, first=largest)
    assert pngs(ask(client, n=1, seed=largest, first=largest)) == [image_png(expected)]
    assert ask(client, n=2.0, steps=3.0).status_code == 200


def test_bodies_and_forms_that_are_not_taken(client: TestClient) -> None:
    kind = {"Content-Type": "application/json"}
    for body, headers, status in (
        (b'{"n": 1', kind, 400),
        (b"", kind, 400),
        (b"[1]", kind, 422),
        (b'{"guidance": NaN}', kind, 422),
        (b'{"n": 1}', {"Content-Type": "text/plain"}, 415),
        (b'{"n": 1}', kind | {"Accept": "text/html"}, 406),
        (b'{"n": 1}' + b" " * 70_000, kind, 413),
    ):
        answer = client.post("/v1/generate", content=body, headers=headers)
        assert answer.status_code == status, (body[:20], answer.text)
        assert list(answer.json()) == ["detail"] and "\n" not in answer.json()["detail"]


def test_accept_is_weighed(client: TestClient) -> None:
    for accept, kind in (
        ("text/html, image/png;q=0.5, application/x-ndjson;q=0.4", "image/png"),
        ("*/*", "application/json"),
        ("image/*", "image/png"),
        ("application/json;q=0, application/x-ndjson", "application/x-ndjson"),
    ):
        assert ask(client, {"Accept": accept}).headers["content-type"] == kind


def test_images_that_take_too_long_are_given_up(generator: Generator) -> None:
    def slow(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        time.sleep(0.05)
        return x * 0

    with application(with_net(generator, slow), strict(generation_seconds=0.3)) as client:
        assert "longer than 0.3 seconds" in refusal(client, 504, steps=100, guidance=1)
        last = events(ask(client, LINES, steps=100, guidance=1))[-1]
        assert last["event"] == "failed" and "longer than 0.3 seconds" in last["detail"]
        assert ask(client, steps=1, guidance=1).status_code == 200


# several at a time, and those who go away


def head_of(wanted: dict[str, Any], accept: str) -> bytes:
    """A request as it is sent."""
    body = json.dumps(wanted).encode()
    lines = (
        "POST /v1/generate HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Accept: {accept}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize("accept", ["application/json", "image/png", "application/x-ndjson"])
def test_who_goes_away_cancels_what_is_not_yet_drawn(generator: Generator, accept: str) -> None:
    gate = Gate()
    with listening_to(with_net(generator, gate)) as address, httpx.Client(base_url=address, timeout=20) as client:
        wanted = SHORT | {"n": 64, "steps": 100, "guidance": 1}  # four batches of a hundred calls
        with connected(address) as leaving:
            leaving.sendall(head_of(wanted, accept))
            assert gate.reached.wait(20)
        time.sleep(0.2)  # for the server to be told
        before = gate.calls
        gate.opened.set()
        until(lambda: counted(client, "skipway_images_inside") == 0)
        assert gate.calls <= before + 1
        assert counted(client, 'skipway_images_total{outcome="generated"}') == 0
        assert ask(client, guidance=1).status_code == 200


def test_who_goes_away_while_waiting_leaves_the_queue(generator: Generator) -> None:
    gate = Gate()
    with (
        listening_to(with_net(generator, gate)) as address,
        httpx.Client(base_url=address, timeout=20) as client,
        connected(address) as first,
        connected(address) as second,
    ):
        first.sendall(head_of(SHORT | {"n": 3, "guidance": 1}, "image/png"))
        assert gate.reached.wait(20)
        second.sendall(head_of(SHORT | {"n": 2, "guidance": 1}, "application/json"))
        until(lambda: counted(client, "skipway_images_inside") == 5)
        second.close()
        until(lambda: counted(client, "skipway_images_inside") == 3)
        gate.opened.set()
        first.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert heard(first).startswith(b"HTTP/1.1 200")


def test_one_request_is_drawn_at_a_time_and_what_the_queue_does_not_hold_is_told_when_to_come_again(
    generator: Generator,
) -> None:
    gate, at_once, most = Gate(), [0], [0]

    def net(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        result = gate(x, t, labels)
        at_once[0] -= 1
        return result

    with listening_to(with_net(generator, net), strict(queue=8)) as address:
        statuses: list[int] = []
        with httpx.Client(base_url=address, timeout=20) as client:
            threads = [
                threading.Thread(target=lambda: statuses.append(ask(client, n=4, guidance=1).status_code))
                for _ in range(2)
            ]
            for thread in threads:
                thread.start()
            until(lambda: counted(client, "skipway_images_inside") == 8)
            answer = ask(client, n=1, guidance=1)
            assert answer.status_code == 429 and int(answer.headers["retry-after"]) >= 1
            gate.opened.set()
            for thread in threads:
                thread.join()
            assert statuses == [200, 200] and most == [1]
            assert ask(client, n=16, guidance=1).status_code == 200, "more than the queue holds, and nobody waits"


def test_a_request_whose_turn_would_come_too_late_is_refused(generator: Generator) -> None:
    gate = Gate()
    service = GenerationService(with_net(generator, gate), strict(generation_seconds=15.0), Metrics())
    with TestClient(create_app(service)) as client:
        service.each = 1.0
        thread = threading.Thread(target=lambda: ask(client, steps=20, n=32, guidance=1))
        thread.start()
        assert gate.reached.wait(20)
        assert service.expected() == pytest.approx(20)  # seconds: one batch of 20 evaluations
        answer = ask(client, n=1)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "20")
        gate.opened.set()
        thread.join()
        service.each = 1e-3
        assert ask(client, n=1).status_code == 200


def test_a_step_that_never_ends_is_not_ready(generator: Generator) -> None:
    gate = Gate()
    slow = with_net(generator, gate)
    with (
        listening_to(slow, strict(answer_seconds=0.3)) as address,
        httpx.Client(base_url=address, timeout=20) as client,
    ):
        assert client.get("/readyz").status_code == 200
        thread = threading.Thread(target=lambda: ask(client, guidance=1))
        thread.start()
        until(lambda: client.get("/readyz").status_code == 503)
        assert client.get("/healthz").status_code == 200
        gate.opened.set()
        thread.join()
        assert client.get("/readyz").status_code == 200


# what is told


def test_the_card_health_and_counts_answer(generator: Generator) -> None:
    with application(generator) as client:
        assert client.get("/readyz").json() == {"status": "ready"}
        model = client.get("/v1/model").json()
        assert (model["task"], model["classes"], model["network"]) == ("generate", CLASSES, "unet8")
        assert model["fields"] == ["index", "class", "seed", "png", "text"]
        assert model["limits"] == {
            "body_bytes": 65_536,
            "images": 64,
            "steps": 1000,
            "evaluations": 10_000,
            "seconds": 120,
        }
        ask(client, n=3)
        ask(client, LINES, n=2)
        ask(client, n=0)
        assert counted(client, 'skipway_images_total{outcome="generated"}') == 5
        assert counted(client, 'skipway_requests_total{path="/v1/generate",status="422"}') == 1
        assert counted(client, "skipway_images_inside") == 0


def test_the_page_and_the_docs_are_those_of_a_generator(client: TestClient) -> None:
    assert "generate.js" in client.get("/").text
    for path in ("/style.css", "/server.js", "/card.js", "/generate.js"):
        assert client.get(path).status_code == 200
    assert client.get("/app.js").status_code == 404
    text = client.get("/docs").text
    assert "<code>POST /v1/generate</code>" in text and "/v1/predict" not in text
    told = client.post("/v1/predict").json()["detail"]
    assert "images are generated with POST to /v1/generate (curl " in told


def test_with_a_key_images_are_for_those_who_have_it(generator: Generator) -> None:
    with application(generator, key="sesame") as client:
        assert ask(client).status_code == 401
        assert ask(client, {"X-API-Key": "sesame"}).status_code == 200
        assert client.get("/").status_code == 200


def still(generator: Generator) -> Generator:
    """The generator whose images are their noise, in no time."""
    return with_net(generator, lambda x, t, labels: x * 0)


def test_examples_of_the_document_are_answered(generator: Generator) -> None:
    with application(still(generator)) as client:
        operation = client.get("/openapi.json").json()["paths"]["/v1/generate"]["post"]
        examples = operation["requestBody"]["content"]["application/json"]["examples"]
        answers = {name: client.post("/v1/generate", json=example["value"]) for name, example in examples.items()}
        assert {answer.status_code for answer in answers.values()} == {200}
        assert pngs(answers["several"])[-1:] == pngs(answers["again"])
        lines = operation["responses"]["200"]["content"]["application/x-ndjson"]["example"].splitlines()
        told = events(ask(client, LINES))
        assert [set(json.loads(line)) for line in lines] == [set(told[0]), set(told[-2]), set(told[-1])]


def ask_all(operation: Any, mode: Any) -> int:
    """Ask for what schemathesis makes of an operation, and have it check each answer; returns how often."""
    from hypothesis import HealthCheck, given, settings

    asked = 0

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask_for(case: Any) -> None:
        nonlocal asked
        asked += 1
        case.call_and_validate()

    ask_for()
    return asked


@pytest.mark.parametrize("classes", [CLASSES, []], ids=["classes", "plain"])
def test_the_server_does_what_its_schema_says(tmp_path: Path, classes: list[str]) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
    quick = still(Generator(write_generator(tmp_path / "run", classes), CPU))
    limits = strict(generated=4, evaluations=10**6, head_seconds=60.0, body_seconds=60.0)
    with listening_to(quick, limits) as address:
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        operations = {found.ok().label: found.ok() for found in schema.get_all_operations()}
        expected = {"POST /v1/generate", "GET /v1/model", "GET /metrics", "GET /healthz", "GET /readyz"}
        assert set(operations) == expected
        assert ask_all(operations["GET /v1/model"], schemathesis.GenerationMode.POSITIVE) > 0
        for mode in schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE:
            assert ask_all(operations["POST /v1/generate"], mode) > 0


def test_the_command_that_serve_prints_is_that_of_a_generator(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from skipway.cli.serve import print_address

    print_address(run, "127.0.0.1", "", server.generates(run), "http://127.0.0.1:8000")
    printed = capsys.readouterr().out
    assert "-o images.png http://127.0.0.1:8000/v1/generate" in printed


def test_images_of_five_channels_are_not_served(tmp_path: Path) -> None:
    folder = write_generator(tmp_path / "five", [], 5)
    with pytest.raises(SkipwayError, match="5 channels, which no PNG holds"):
        GenerationService(Generator(folder, CPU), LIMITS, Metrics())
