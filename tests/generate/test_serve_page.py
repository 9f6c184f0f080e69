"""The web page of a generator in a browser: images as they get ready, by keyboard too; and what axe says of it."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from generated import CLASSES, write_generator
from served import listening, strict
from torch import Tensor

from skipway import hardware
from skipway.deploy.generate.generator import Generator
from skipway.deploy.generate.pictures import image_png
from skipway.deploy.generate.request import GenerationRequest
from skipway.deploy.serve import server
from skipway.deploy.serve.generation import GenerationService
from skipway.deploy.serve.metrics import Metrics
from skipway.tasks.generate.sampler import SamplingOptions

CPU = hardware.decide("cpu", precision="float32", workers=0)
ROOMY = strict(generated=64, body_seconds=60.0, head_seconds=60.0)  # time for a browser on a busy machine


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_generator(tmp_path_factory.mktemp("runs") / "animals")


@pytest.fixture(scope="module")
def address(run: Path) -> Iterator[str]:
    with listening(run, ROOMY) as served:
        yield served


class Steps:
    """A velocity of 0 that waits from call `gate` on until it is opened."""

    def __init__(self, gate: int) -> None:
        self.gate, self.calls, self.opened = gate, 0, threading.Event()

    def __call__(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        self.calls += 1
        if self.calls > self.gate:
            assert self.opened.wait(60)
        return x * 0


@contextmanager
def waiting_at(run: Path, gate: int) -> Iterator[tuple[str, Steps]]:
    """A server whose velocity waits at a call; images are drawn in batches of 4."""
    generator, net = copy(Generator(run, CPU)), Steps(gate)
    generator.sampler = replace(generator.sampler, net=net, batch=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "service_for", lambda _: GenerationService(generator, ROOMY, Metrics()))
        with listening(run, ROOMY) as served:
            try:
                yield served, net
            finally:
                net.opened.set()


class Opened:
    """The page in a window, with what it asked for elsewhere and what went wrong in it."""

    def __init__(self, browser: Any, address: str, **window: Any) -> None:
        from playwright.sync_api import expect

        self.expect, self.address = expect, address
        self.elsewhere: list[str] = []
        self.wrong: list[str] = []
        self.page = browser.new_page(**({"viewport": {"width": 1280, "height": 900}} | window))
        self.page.set_default_timeout(30_000)
        expect.set_options(timeout=30_000)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("console", lambda said: self.wrong.append(said.text))
        self.page.on("request", self.asked)
        self.page.goto(address)

    def asked(self, request: Any) -> None:
        if not request.url.startswith((self.address, "blob:", "data:")):
            self.elsewhere.append(request.url)

    def __enter__(self) -> "Opened":
        self.expect(self.page.locator("#wanted")).to_be_visible()
        return self

    def __exit__(self, *_: object) -> None:
        self.page.close()

    def set(self, **values: str) -> None:
        for name, value in values.items():
            self.page.locator(f"#{name}").fill(value)

    def ready(self, count: int) -> None:
        """Wait until `count` images are there and no more are on their way."""
        self.expect(self.page.locator("#pictures > .ready")).to_have_count(count)
        self.expect(self.page.locator("#stop")).to_be_hidden()
        self.expect(self.page.locator("#pictures > .pending")).to_have_count(0)

    def file(self, place: int) -> bytes:
        """The file that is downloaded from a place."""
        link = self.page.locator("#pictures .download").nth(place)
        with self.page.expect_download() as started:
            link.click()
        return Path(started.value.path()).read_bytes()

    def well(self) -> None:
        assert not self.wrong
        assert not self.elsewhere


def violations(page: Any) -> list[str]:
    """What axe finds, a line each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = axe.Axe().run(page, options={"runOnly": rules})
    return [
        f"{rule['id']}: {node['html']} {node.get('failureSummary')}"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]


def test_the_page_downloads_the_files_of_generator_and_shows_their_seed_and_number(
    browser: Any, address: str, run: Path
) -> None:
    options = SamplingOptions(steps=4, guidance=2.5)
    request = GenerationRequest(("bee",), 3, 41, 5, options)
    expected = [image_png(image) for image in Generator(run, CPU).generate(request)]
    with Opened(browser, address) as opened:
        page, expect = opened.page, opened.expect
        page.get_by_text("bee", exact=True).first.click()
        opened.set(n="3", seed="41", first="5", guidance="2.5", steps="4")
        page.get_by_role("button", name="Generate", exact=True).click()
        opened.ready(3)
        assert [opened.file(place) for place in range(3)] == expected
        expect(page.locator(".tile-class")).to_have_text(["bee"] * 3)
        expect(page.locator(".tile-number")).to_have_text([f"seed 41 image {number}" for number in (5, 6, 7)])
        expect(page.locator("#settings")).to_contain_text("bee · seed 41 · guidance 2.5 · 4 steps · ")
        expect(page.locator("#status")).to_have_text("3 images are ready.")
        opened.well()


def test_an_image_is_seen_large_and_generated_again_alone(browser: Any, address: str) -> None:
    with Opened(browser, address) as opened:
        page, expect = opened.page, opened.expect
        expect(page.locator("#n")).to_have_value("15")  # of three classes equally many
        opened.set(steps="3", seed="9")
        page.locator("#generate").click()
        opened.ready(15)
        expect(page.locator(".tile-class")).to_have_text(CLASSES * 5)
        file = opened.file(10)
        page.get_by_role("button", name="Image 10 of seed 9, bee").click()
        viewer = page.get_by_role("dialog", name="bee")
        expect(viewer).to_be_visible()
        facts = page.locator("#facts > div")
        expect(facts.nth(0)).to_have_text("Seed9")
        expect(facts.nth(1)).to_have_text("Image10")
        expect(facts.nth(3)).to_have_text("Steps3, heun")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#viewer-title")).to_have_text("cat")
        page.keyboard.press("ArrowLeft")
        page.get_by_role("button", name="Generate it alone").click()
        expect(viewer).to_be_hidden()
        opened.ready(1)
        assert opened.file(0) == file
        expect(page.locator("input[name=class]:checked")).to_have_value("bee")
        expect(page.locator("#first")).to_have_value("10")
        opened.well()


def test_images_appear_batch_by_batch_beside_a_bar_and_can_be_stopped(browser: Any, run: Path) -> None:
    steps, calls = 4, 4 * 2 - 1  # of Heun, whose last step is one of Euler
    with waiting_at(run, 2 + calls + 3) as (address, net), Opened(browser, address) as opened:
        page, expect = opened.page, opened.expect
        opened.set(n="8", steps=str(steps), guidance="1")
        page.locator("#generate").click()
        expect(page.locator("#pictures > .ready")).to_have_count(4)
        expect(page.locator("#pictures > .pending")).to_have_count(4)
        bar = page.get_by_role("progressbar", name="Network evaluations done")
        expect(bar).to_be_visible()
        assert 0.5 < float(bar.evaluate("bar => bar.value")) < 1
        page.get_by_role("button", name="Stop").click()
        opened.ready(4)
        expect(page.locator("#status")).to_have_text("Stopped.")
        expect(bar).to_be_hidden()
        before = net.calls
        net.opened.set()
        page.locator("#generate").click()
        opened.ready(8)
        assert net.calls <= before + 1 + 2 * calls, "what was stopped was not drawn"


def test_everything_is_done_with_the_keyboard_alone(browser: Any, address: str) -> None:
    with Opened(browser, address) as opened:
        page, expect = opened.page, opened.expect
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to generating")).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("radio", name="Any")).to_be_focused()
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("radio", name="ape")).to_be_checked()
        outline = page.evaluate("getComputedStyle(document.querySelector('.chip :checked + span')).outlineStyle")
        assert outline == "solid", "the focus cannot be seen"
        order = []
        for _ in range(7):
            page.keyboard.press("Tab")
            order.append(page.evaluate("document.activeElement.id"))
            if order[-1] == "n":
                page.keyboard.type("2")
            if order[-1] == "dice":
                page.keyboard.press("Enter")
            if order[-1] in ("guidance", "steps"):
                page.keyboard.press("ArrowLeft")
        assert order == ["n", "first", "seed", "dice", "guidance", "steps", "generate"]
        expect(page.locator("#seed")).not_to_have_value("0")
        expect(page.locator("#guidance-value")).to_have_text("1.4")
        expect(page.locator("#steps-value")).to_have_text("17")
        page.keyboard.press("Enter")
        opened.ready(2)
        expect(page.locator("#generate")).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_role("dialog")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_be_hidden()
        expect(page.locator(".tile").first).to_be_focused()
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Download image 0")).to_be_focused()
        opened.well()


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(
    browser: Any, address: str, width: int, scheme: str
) -> None:
    window = {"viewport": {"width": width, "height": 844}, "color_scheme": scheme, "reduced_motion": "reduce"}
    with Opened(browser, address, **window) as opened:
        page = opened.page
        assert violations(page) == []
        opened.set(steps="2", seed=str(2**53 - 1))
        page.locator("#generate").click()
        opened.ready(15)
        page.get_by_text("All classes").click()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.locator(".tile").first.click()
        assert violations(page) == []
        opened.expect(page.locator("#close")).to_be_in_viewport()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        opened.well()


def test_what_the_server_refuses_is_said_and_a_busy_one_is_asked_again(browser: Any, address: str) -> None:
    with Opened(browser, address) as opened:
        page, expect = opened.page, opened.expect
        busy = [True, True]

        def answer(route: Any) -> None:
            if busy:
                busy.pop()
                route.fulfill(status=429, headers={"Retry-After": "0.01"}, json={"detail": "the server is busy"})
            else:
                route.continue_()

        page.route("**/v1/generate", answer)
        opened.set(steps="2")
        page.locator("#generate").click()
        opened.ready(15)
        page.unroute("**/v1/generate")
        detail = {"detail": "64 images of 238 network evaluations each are more than allowed: ask for fewer"}
        page.route("**/v1/generate", lambda route: route.fulfill(status=422, json=detail))
        page.locator("#generate").click()
        expect(page.get_by_role("alert").filter(has_text="ask for fewer.")).to_be_visible()
        expect(page.locator("#results")).to_be_hidden()
        page.unroute("**/v1/generate")
        page.route("**/v1/generate", lambda route: route.abort())
        page.locator("#generate").click()
        expect(page.locator("#fault")).to_have_text("The server cannot be reached.")


def test_a_key_is_asked_for_and_images_without_classes_are_in_colour(browser: Any, tmp_path: Path) -> None:
    plain = write_generator(tmp_path / "plain", [], 3, (6, 10))
    with listening(plain, ROOMY, "sesame") as address:
        opened = Opened(browser, address)
        page, expect = opened.page, opened.expect
        expect(page.locator("#key")).to_be_visible()
        expect(page.locator("#wanted")).to_be_hidden()
        for key in ("wrong", "sesame"):
            page.locator("#key").fill(key)
            page.keyboard.press("Enter")
            expect(page.locator("#key")).to_have_value("")
        with opened:
            expect(page.locator("#kinds")).to_be_hidden()
            expect(page.locator("#guided")).to_be_hidden()
            expect(page.locator("#card")).to_contain_text("10 × 6 pixels, colour")
            opened.set(steps="2")
            page.locator("#generate").click()
            opened.ready(16)
            box = page.locator(".tile").first.bounding_box()
            assert box["width"] / box["height"] == pytest.approx(10 / 6, rel=0.02)
            expect(page.locator(".tile img").first).to_have_js_property("naturalWidth", 10)
            page.locator(".tile").nth(4).click()
            expect(page.get_by_role("dialog", name=re.compile("Image 4"))).to_be_visible()


def test_many_classes_are_a_list_and_markup_in_a_name_is_text(browser: Any, tmp_path: Path) -> None:
    names = [f"<b>class {number}" for number in range(60)]
    with listening(write_generator(tmp_path / "many", names), ROOMY) as address, Opened(browser, address) as opened:
        page = opened.page
        page.get_by_role("combobox", name="Class").select_option("<b>class 7")
        opened.set(steps="2", n="2")
        page.locator("#generate").click()
        opened.ready(2)
        opened.expect(page.locator(".tile-class")).to_have_text(["<b>class 7"] * 2)
        assert violations(page) == []
        opened.well()
