"""The page of a network: what it says, that it needs nothing beside it, and that it works in a browser."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from skipway import models
from skipway.hardware import ShapesOnly
from skipway.models.analysis.paper_results import PUBLISHED
from skipway.models.analysis.trace import layers
from skipway.models.base import Network
from skipway.reporting import architecture

CLOSED_BY_ITSELF = {"meta", "link", "br", "input"}


class Reader(HTMLParser):
    """Tags in order, whether each was closed, and the labels of the shapes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in CLOSED_BY_ITSELF:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def labels(self) -> list[str]:
        return [values["aria-label"] or "" for tag, values in self.tags if tag == "g" and "aria-label" in values]


def traced(name: str) -> tuple[Network, list[Any]]:
    with ShapesOnly():
        net = models.build(name)
    return net, layers(net, (3, PUBLISHED[name].size, PUBLISHED[name].size))


@pytest.mark.parametrize("names", [("resnet18",), ("resnet152",), ("resnet34", "resnet50"), ("resnet20", "googlenet")])
def test_the_page_is_whole_and_asks_for_nothing(names: tuple[str, ...]) -> None:
    page = architecture.page(names, "", None)
    reader = Reader(page)
    assert not reader.wrong
    assert not reader.open
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|url\(|@import|\bsrc=|<link", page)
    for name in names:
        assert f"<h1>{name}</h1>" in page


def test_every_layer_of_a_network_is_on_its_page() -> None:
    for name in ("resnet18", "resnet152", "seresnet18", "densenet40_12", "vgg16_bn", "resnet18_blur"):
        _, steps = traced(name)
        said = {label.split("; ")[0] for label in Reader(architecture.page([name], "", None)).labels()}
        assert {step.name for step in steps if step.name} <= said, name


def test_a_shape_says_its_layers_figures() -> None:
    labels = Reader(architecture.page(["resnet18"], "", None)).labels()
    assert (
        "layer2.0.conv1; convolution 3×3, 128, stride 2; output 128×28×28, 392 KiB; 73,728 parameters; "
        "57.8 M multiply-adds; receptive field 51 × 51 pixels"
    ) in labels


def test_units_that_repeat_are_folded_into_one() -> None:
    _, steps = traced("resnet152")
    sections = architecture.sections_of(architecture.units_of(steps), 224)
    assert [[len(run.units) for run in runs if not run.chain] for runs in sections.values()] == [
        *([], [1, 2], [1, 7], [1, 35], [1, 2]),
        [],
    ]
    page = architecture.page(["resnet152"], "", None)
    assert "× 35" in page
    assert "layer3.1 – layer3.35" in page


def test_stages_of_two_networks_stand_beside_each_other_by_their_maps() -> None:
    sections = [architecture.sections_of(architecture.units_of(traced(name)[1]), 224) for name in ("vgg16", "alexnet")]
    assert list(sections[0]) == [0, 1, 2, 3, 4, 5, architecture.HEAD]
    assert list(sections[1]) == [2, 3, 4, 5, architecture.HEAD]  # 55, 27, 13 and 6 pixels beside 56, 28, 14 and 7


def test_the_main_line_of_a_unit_is_its_branch_and_the_skip_is_an_arc() -> None:
    units = {unit.name: unit for unit in architecture.units_of(traced("resnet50")[1])}
    plain, projected = units["layer1.1"], units["layer1.0"]
    names = [step.name.rsplit(".", 1)[-1] for step in projected.steps]
    line = architecture.main_line(projected)
    assert [name for i, name in enumerate(names) if i in line] == ["conv1", "bn1", "conv2", "bn2", "conv3", "bn3", ""]
    assert str(architecture.draw(plain).marks).count('class="skip"') == 1
    assert str(architecture.draw(projected).marks).count('class="skip"') == 0  # its shortcut has a box
    assert architecture.draw(projected).right > 1.5 * architecture.draw(plain).right


def test_boxes_of_a_unit_do_not_cover_each_other() -> None:
    for name in ("resnet50", "seresnet18", "googlenet", "highway19", "densenet40_12", "resnet110_exclusive_gate"):
        for unit in architecture.units_of(traced(name)[1]):
            lanes = architecture.lanes_of(unit, architecture.main_line(unit))
            boxes = architecture.place(unit, lanes)
            architecture.spread(unit, lanes, boxes, architecture.arcs_of(unit, lanes, boxes)[1])
            for i, a in enumerate(boxes):
                for b in boxes[:i]:
                    beside = abs(a.x - b.x) >= (a.width + b.width) / 2
                    assert beside or a.top >= b.bottom or b.top >= a.bottom, (name, unit.name)


def test_every_network_can_be_drawn() -> None:
    """The shallow ones: their deep kin have the same units."""
    for name in models.NETWORKS:
        if PUBLISHED[name].depth <= 20:
            assert architecture.page([name], "", None).count('class="unit"') > 5, name


# ---------------------------------------------------------------------------------------------------------------------
# In a browser


def opened(browser: Any, folder: Path, names: list[str], width: int) -> tuple[Any, list[str]]:
    """The page in a window `width` wide, and what went wrong or was asked for over the network."""
    file = folder / "page.html"
    file.write_text(architecture.page(names, "", None))
    wrong: list[str] = []
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.on("console", lambda message: wrong.append(message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.append(request.url) if request.url != file.as_uri() else None)
    page.goto(file.as_uri())
    return page, wrong


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("names", [["resnet152"], ["resnet34", "resnet50"]])
def test_the_page_fits_its_window_without_a_request(browser, tmp_path: Path, names: list[str], width: int) -> None:
    page, wrong = opened(browser, tmp_path, names, width)
    assert not wrong
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    heights = "[...document.querySelectorAll('.run > .sheet text')].map(t => t.getBoundingClientRect().height)"
    smallest = page.evaluate(f"Math.min(...{heights})")
    assert smallest > 9  # pixels: as high as type that can be read


def test_figures_come_with_the_pointer_and_with_the_keyboard(browser, tmp_path: Path) -> None:
    from playwright.sync_api import expect  # which waits; the page may answer a key a moment later

    page, wrong = opened(browser, tmp_path, ["resnet18"], 1200)
    tip = page.locator("#tip")
    page.locator('g[aria-label^="layer2.0.conv1;"]').hover()
    expect(tip).to_contain_text("73,728 parameters")
    page.keyboard.press("Escape")
    expect(tip).to_be_hidden()
    page.mouse.move(0, 0)
    page.locator('g[aria-label^="conv1;"]').focus()
    expect(tip).to_contain_text("receptive field 7 × 7 pixels")
    page.keyboard.press("Tab")
    expect(tip).to_have_text(re.compile("^bn1"))
    assert not wrong


def test_units_fold_and_unfold_with_the_keyboard(browser, tmp_path: Path) -> None:
    from playwright.sync_api import expect  # which waits; the page may answer a key a moment later

    page, wrong = opened(browser, tmp_path, ["resnet152"], 1200)
    summary = page.locator("summary", has_text="all 35 one by one")
    last = page.locator(".one summary", has_text="layer3.35")
    expect(last).to_be_hidden()
    summary.focus()
    page.keyboard.press("Enter")
    expect(last).to_be_visible()
    page.locator("#fold").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".sheet:visible")).to_have_count(0)
    page.locator("#unfold").focus()
    page.keyboard.press("Enter")
    expect(page.locator('g[aria-label^="layer3.35.conv3;"]')).to_be_visible()
    assert not wrong
