"""The web page in a browser, by hand, by keyboard and by paste; and what axe says of it."""

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import CLASSES, listening, picture, strict

WIDTHS = (390, 1280)


@pytest.fixture(scope="module")
def roomy(fruit: Path) -> Iterator[str]:
    """A server that has time for a browser on a busy machine."""
    with listening(fruit, strict(latency=60.0, body_seconds=60.0, head_seconds=60.0)) as address:
        yield address


class Opened:
    """The page in a window, with what it asked for elsewhere and what went wrong in it."""

    def __init__(self, browser: Any, address: str, **window: Any) -> None:
        from playwright.sync_api import expect

        self.expect = expect
        self.address = address
        self.elsewhere: list[str] = []
        self.wrong: list[str] = []
        self.page = browser.new_page(viewport={"width": 1280, "height": 900}, **window)
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
        self.expect(self.page.locator("h1")).to_have_text("resnet20")
        return self

    def __exit__(self, *_: object) -> None:
        self.page.close()

    def choose(self, *images: tuple[str, bytes]) -> None:
        files = [{"name": name, "mimeType": "image/jpeg", "buffer": content} for name, content in images]
        self.page.set_input_files("#choose", files)

    def settled(self, count: int) -> None:
        """Wait until `count` pictures have been tried and none is under way."""
        self.expect(self.page.locator("#tried > li")).to_have_count(count)
        self.expect(self.page.locator("#tried > .asking")).to_have_count(0)

    def well(self) -> None:
        assert not self.wrong
        assert not self.elsewhere


def violations(page: Any) -> list[str]:
    """What axe finds, a line each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    found = axe.Axe().run(
        page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    )
    return [
        f"{rule['id']}: {node['html']} {node.get('failureSummary')}"
        for rule in found.response["violations"]
        for node in rule["nodes"]
    ]


def test_a_picture_gets_classes_time_heat_map_and_a_place_in_the_history(browser: Any, roomy: str) -> None:
    with Opened(browser, roomy) as opened:
        page, expect = opened.page, opened.expect
        opened.choose(("pear.jpg", picture(80, 60, seed=1)))
        opened.settled(1)
        expect(page.locator("#bars > li")).to_have_count(len(CLASSES))
        shares = [float(re.sub("[^0-9.]", "", text)) for text in page.locator(".bar-value").all_text_contents()]
        assert shares == sorted(shares, reverse=True)
        assert sum(shares) == pytest.approx(100, abs=0.5)
        expect(page.locator("#verdict")).to_have_text(page.locator(".bar-name").first.text_content())
        expect(page.locator("#caption")).to_have_text(re.compile(r"^pear\.jpg · .+ of which .+ on the server$"))
        expect(page.locator("#note")).to_contain_text("calibrated")
        expect(page.locator("#status")).to_contain_text("pear.jpg: ")
        expect(page.locator("#card")).to_contain_text("calibrated (temperature 1.70)")
        expect(page.locator("#card")).to_contain_text("25.0 % (20.0 to 30.0)")
        expect(page.locator("#heat")).to_be_hidden()
        page.get_by_role("checkbox").check()
        heat = page.locator("#heat")
        expect(heat).to_be_visible()
        expect(heat).to_have_attribute("alt", re.compile("^Heat map: what speaks for "))
        expect(heat).to_have_js_property("naturalWidth", 80)
        page.get_by_role("slider").fill("20")
        expect(heat).to_have_css("opacity", "0.2")
        other = page.locator(".bar").nth(2)
        first = heat.get_attribute("src")
        other.click()
        expect(heat).not_to_have_attribute("src", first)
        expect(other).to_have_attribute("aria-pressed", "true")
        page.get_by_role("checkbox").uncheck()
        expect(heat).to_be_hidden()
        opened.well()


def test_several_pictures_at_once_and_a_broken_one_among_them(browser: Any, roomy: str) -> None:
    with Opened(browser, roomy) as opened:
        page, expect = opened.page, opened.expect
        good = [(f"{i}.jpg", picture(40, 40, seed=i)) for i in range(5)]
        opened.choose(*good, ("broken.jpg", picture()[:100]))
        opened.settled(6)
        expect(page.locator("#tried > .answered")).to_have_count(5)
        page.locator("#tried > .failed button").click()
        expect(page.locator("#sentence")).to_have_text(re.compile(r"^broken\.jpg cannot be read"))
        expect(page.locator("#bars > li")).to_have_count(0)
        expect(page.locator("#again")).to_be_hidden()  # it would not be read a second time either
        expect(page.locator("#heat-controls")).to_be_hidden()
        page.locator("#tried > .answered button").first.click()
        expect(page.locator("#bars > li")).to_have_count(len(CLASSES))
        opened.choose(("large.jpg", picture() + b"\0" * 300_000))
        opened.settled(7)
        expect(page.locator("#sentence")).to_contain_text("larger than")
        page.get_by_role("button", name="Clear").click()
        expect(page.locator("#stage")).to_be_hidden()
        expect(page.locator("#history")).to_be_hidden()
        assert [said for said in opened.wrong if "422" not in said] == []  # the browser notes the refusal itself
        assert not opened.elsewhere


def test_pictures_can_be_pasted_and_dropped(browser: Any, roomy: str) -> None:
    hand_over = """([kind, content]) => {
        const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], `${kind}.jpg`, { type: "image/jpeg" }));
        const event = kind === "paste"
            ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
            : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
    }"""
    with Opened(browser, roomy) as opened:
        for number, kind in enumerate(("paste", "drop")):
            content = base64.b64encode(picture(seed=number)).decode()
            opened.page.evaluate(hand_over, [kind, content])
            opened.settled(number + 1)
            opened.expect(opened.page.locator("#caption")).to_contain_text(f"{kind}.jpg")
        opened.expect(opened.page.locator("#tried > .answered")).to_have_count(2)
        opened.well()


def test_everything_is_done_with_the_keyboard_alone(browser: Any, roomy: str, tmp_path: Path) -> None:
    file = tmp_path / "by-keyboard.jpg"
    file.write_bytes(picture(seed=9))

    def focused(page: Any) -> str:
        return page.evaluate("document.activeElement.id || document.activeElement.className")

    with Opened(browser, roomy) as opened:
        page, expect = opened.page, opened.expect
        page.on("filechooser", lambda chooser: chooser.set_files(file))
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to choosing")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("#choose")).to_be_focused()
        outline = page.evaluate("getComputedStyle(document.querySelector('.drop')).outlineStyle")
        assert outline == "solid", "the focus cannot be seen"
        page.keyboard.press("Enter")
        opened.settled(1)
        order = []
        for _ in range(12):
            page.keyboard.press("Tab")
            order.append(focused(page))
            if order[-1] == "heat-on":
                page.keyboard.press("Space")
                expect(page.locator("#heat")).to_be_visible()
            if order[-1] == "fade":
                page.keyboard.press("ArrowLeft")
                expect(page.locator("#fade-value")).to_have_text("74 %")
        assert order[:2] == ["heat-on", "fade"]
        assert order.count("bar") == len(CLASSES)
        assert "clear" in order and "tried-one" in order
        page.locator(".bar").nth(1).focus()
        page.keyboard.press("Enter")
        expect(page.locator("#heat-class")).to_have_text(page.locator(".bar-name").nth(1).text_content())
        opened.well()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_state(browser: Any, roomy: str, scheme: str) -> None:
    with Opened(browser, roomy, color_scheme=scheme, has_touch=True, reduced_motion="reduce") as opened:
        page = opened.page
        assert violations(page) == []
        opened.choose(("a.jpg", picture(seed=1)), ("b.jpg", picture(seed=2)), ("broken.jpg", picture()[:80]))
        opened.settled(3)
        page.get_by_role("checkbox").check()
        opened.expect(page.locator("#heat")).to_be_visible()
        page.get_by_text("All classes").click()
        assert violations(page) == []
        page.set_viewport_size({"width": 390, "height": 844})
        page.locator("#tried > .failed button").click()
        opened.expect(page.locator("#sentence")).to_be_visible()
        assert violations(page) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_its_window(browser: Any, roomy: str, width: int) -> None:
    with Opened(browser, roomy) as opened:
        page = opened.page
        page.set_viewport_size({"width": width, "height": 800})
        long_name = "a" * 120 + ".jpg"
        opened.choose((long_name, picture(900, 60)), ("tall.jpg", picture(20, 900)))
        opened.settled(2)
        for place in (0, 1):
            page.locator(".tried-one").nth(place).click()
            assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_key_is_asked_for_and_kept_for_the_tab(browser: Any, fruit: Path) -> None:
    limits = strict(latency=60.0, body_seconds=60.0, head_seconds=60.0)
    with listening(fruit, limits, "sesame-42") as address:
        opened = Opened(browser, address)
        page, expect = opened.page, opened.expect
        expect(page.locator("#key")).to_be_visible()
        expect(page.locator("#intake")).to_be_hidden()
        assert violations(page) == []
        for key, said in (("wrong", "That key was not accepted."), ("sesame-42", "")):
            page.locator("#key").fill(key)
            page.keyboard.press("Enter")
            expect(page.locator("#key-fault")).to_have_text(said) if said else expect(
                page.locator("#key")
            ).to_be_hidden()
        page.reload()
        with opened:
            opened.choose(("a.jpg", picture()))
            opened.settled(1)
            expect(page.locator("#tried > .answered")).to_have_count(1)


def test_a_busy_server_is_asked_again_and_an_absent_one_said(browser: Any, roomy: str) -> None:
    with Opened(browser, roomy) as opened:
        page, expect = opened.page, opened.expect
        busy = [True, True]

        def answer(route: Any) -> None:
            if busy:
                busy.pop()
                route.fulfill(status=429, headers={"Retry-After": "0.01"}, json={"detail": "the server is busy"})
            else:
                route.continue_()

        page.route("**/v1/predict*", answer)
        opened.choose(("a.jpg", picture()))
        opened.settled(1)
        expect(page.locator("#tried > .answered")).to_have_count(1)
        page.unroute("**/v1/predict*")
        page.route("**/v1/predict*", lambda route: route.abort())
        opened.choose(("b.jpg", picture(seed=1)))
        expect(page.locator("#sentence")).to_have_text("The server cannot be reached.")
        page.unroute("**/v1/predict*")
        page.get_by_role("button", name="Ask again").click()
        expect(page.locator("#tried > .answered")).to_have_count(2)
