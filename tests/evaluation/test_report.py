"""report.html and report.json against counts made with NumPy, and a parser that knows nothing of the template."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from judged import card, judged, look, measured, scored, tagging
from judged import report as made

from skipway.bundle import Card
from skipway.evaluation import report, report_text
from skipway.reporting import html, svg
from skipway.tasks.classify import plots
from skipway.tasks.classify.evaluation import ClassEvaluation
from skipway.tasks.classify.report_text import about_calibration, result

RECORDS: list[dict[str, Any]] = [
    {"epoch": e, "train_loss": 2 / e, "train_top1": 1 - 1 / (e + 1), "val_loss": 2.2 / e, "val_top1": 1 - 1 / (e + 2)}
    for e in range(1, 5)
]
EVIL = "<script>alert('&')</script>"


def renamed(classes: tuple[str, ...], names: tuple[str, ...], data: str) -> ClassEvaluation:
    """An evaluation with other names in it."""
    found = scored(classes)
    return measured(card(classes), replace(found, images=replace(found.images, names=names), data=data))


class Page(HTMLParser):
    """A page's elements as (tag, attributes), its text, its style sheet, and its tables as rows of cells."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[dict[str, Any]] = []
        self.text = self.style = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "link", "br", "img"}:
            self.open.append(tag)
        if tag == "table":
            self.tables.append({"caption": "", "scopes": [], "rows": []})
        elif tag == "tr":
            self.tables[-1]["rows"].append([])
        elif tag in {"td", "th"}:
            self.tables[-1]["rows"][-1].append("")
            if tag == "th":
                self.tables[-1]["scopes"].append(dict(attrs).get("scope"))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, "elements close in the order that they were opened"

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            self.style += data
            return
        self.text += data
        if "caption" in self.open:
            self.tables[-1]["caption"] += data
        elif "td" in self.open or ("th" in self.open and "table" in self.open):
            self.tables[-1]["rows"][-1][-1] += data

    def table(self, caption: str) -> list[list[str]]:
        """The body of the table whose caption has these words in it."""
        return next(table["rows"][1:] for table in self.tables if caption in table["caption"])


def page(
    evaluation: ClassEvaluation, records: list[dict[str, Any]] | None = None, command: str = "skipway eval run bugs"
) -> Page:
    records = RECORDS if records is None else records
    of = (tagging if evaluation.several else card)(evaluation.classes)
    return Page(report.render(made(of, evaluation, records, command=command)))


def test_the_figures_in_report_json_are_those_that_numpy_counts(tmp_path: Path) -> None:
    evaluation = judged()
    assert report.write_report(tmp_path, made(card(), evaluation, RECORDS)) == tmp_path / "report.html"
    found = json.loads((tmp_path / "report.json").read_text())
    truth = np.array([p["label"] for p in found["predictions"]])
    said = np.array([p["predicted"] for p in found["predictions"]])
    assert 0.5 < found["metrics"]["top1"] < 1  # so that every kind of cell below is there
    assert found["metrics"]["top1"] == np.mean(truth == said)
    assert found["n"] == found["metrics"]["n"] == len(truth) == 40
    for i, row in enumerate(found["per_class"]):
        name = found["confusion"]["classes"][i]
        assert row["class"] == name
        assert row["recall"] == pytest.approx(np.mean(said[truth == name] == name))
        assert row["precision"] == pytest.approx(np.mean(truth[said == name] == name))
        for j, other in enumerate(found["confusion"]["classes"]):
            assert found["confusion"]["matrix"][i][j] == np.sum((truth == name) & (said == other))


def test_report_json_keeps_every_probability_to_the_last_bit(tmp_path: Path) -> None:
    evaluation = judged()
    report.write_report(tmp_path, made(card(), evaluation))
    found = json.loads((tmp_path / "report.json").read_text())
    kept = np.array([p["probability"] for p in found["predictions"]])
    assert np.array_equal(kept, evaluation.probabilities.max(1).astype(np.float64))
    assert [p["name"] for p in found["predictions"]] == list(evaluation.names)
    assert found == report.report_json(made(card(), evaluation))


def test_the_page_asks_for_nothing_outside_itself(tmp_path: Path) -> None:
    found = page(judged(classes=tuple(f"class {i}" for i in range(30)), n=300))
    assert {tag for tag, _ in found.elements}.isdisjoint(
        {"script", "link", "iframe", "object", "embed", "base", "form"}
    )
    for _, attributes in found.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name.split(":")[-1] in {"src", "href", "srcset", "action", "data", "poster"}:
                assert (value or "").startswith(("#", "data:image/png;base64,", "data:image/webp;base64,"))
            for target in re.findall(r"url\((.*?)\)", value or ""):
                assert target.startswith("#")
    assert "@import" not in found.style
    assert "url(" not in found.style


def test_every_reference_within_the_page_has_exactly_one_target() -> None:
    found = page(judged())
    ids = [attributes["id"] for _, attributes in found.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in found.elements:
        for value in attributes.values():
            for target in re.findall(r"^#(\S+)$|url\(#(.*?)\)", value or ""):
                assert "".join(target) in ids
        if "aria-labelledby" in attributes:
            assert attributes["aria-labelledby"] in ids


def test_names_from_outside_are_text_and_never_markup() -> None:
    evaluation = renamed((EVIL, "bee", "$x_{$"), tuple(f"{i}{EVIL}" for i in range(40)), EVIL)
    found = page(evaluation, command=f"skipway eval run {EVIL}")
    assert "script" not in {tag for tag, _ in found.elements}
    assert EVIL in [row[0] for row in found.table("Every class")]
    assert found.text.count(EVIL) > 20  # of the images and of their class
    assert f"skipway eval run {EVIL}" in found.text
    assert "$x_{$" in found.text  # not read as a formula


def test_names_that_no_file_can_hold_are_escaped_and_survive_in_json(tmp_path: Path) -> None:
    odd = "ant/\udcff\x00\n.jpg"
    evaluation = renamed(("a\x07nt", "猫", "cat"), (odd,) * 40, "bugs")
    report.write_report(tmp_path, made(card(evaluation.classes), evaluation))
    assert json.loads((tmp_path / "report.json").read_text())["predictions"][0]["name"] == odd
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert r"ant/\udcff\x00\n.jpg" in text
    assert r"a\x07nt" in text


def test_the_worst_class_comes_first_and_one_without_images_has_dashes() -> None:
    evaluation = judged(classes=("ant", "bee", "cat", "dog"), n=60, empty=1)
    rows = page(evaluation).table("Every class")
    assert [row[0] for row in rows][-1] == "bee"
    assert rows[-1][2] == rows[-1][4] == "–"
    said = evaluation.probabilities.argmax(1)
    hits = {evaluation.classes[i]: np.mean(said[evaluation.labels == i] == i) for i in (0, 2, 3)}
    assert [row[0] for row in rows[:3]] == sorted(hits, key=lambda name: hits[name])
    assert rows[0][2] == f"{100 * min(hits.values()):.2f}\u00a0%"


def test_the_confusions_are_the_greatest_in_order() -> None:
    evaluation = judged(n=200)
    found, said = page(evaluation), evaluation.predicted
    wrong = evaluation.labels != said
    counts = [int(row[1]) for row in found.table("Most common confusions")]
    pairs = np.unique(np.stack([evaluation.labels, said])[:, wrong], axis=1, return_counts=True)[1]
    assert counts == sorted(pairs.tolist(), reverse=True)[:10]
    assert f"12 of {wrong.sum()} mistakes" in found.text


def test_every_table_has_a_caption_and_header_cells() -> None:
    for evaluation in (judged(), judged(classes=tuple(f"class {i}" for i in range(40)), n=400)):
        found = page(evaluation)
        assert len(found.tables) >= 2
        for table in found.tables:
            assert table["caption"].strip()
            assert table["scopes"].count("col") == len(table["rows"][0])
            assert table["scopes"].count("row") == len(table["rows"]) - 1
            assert {len(row) for row in table["rows"]} == {len(table["rows"][0])}


def test_every_figure_says_what_it_shows_and_the_page_its_language() -> None:
    found = page(judged())
    figures = [a for tag, a in found.elements if tag == "svg" and a.get("aria-hidden") != "true"]
    assert len(figures) == 5  # two curves, one reliability diagram, error by coverage, one matrix
    assert all(a["role"] == "img" and len(a["aria-label"] or "") > 20 for a in figures)
    assert dict(found.elements)["html"]["lang"] == "en-GB"
    headings = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))


@pytest.mark.parametrize(("count", "counted", "named"), [(20, True, True), (40, False, True), (200, False, False)])
def test_the_matrix_shows_what_fits(count: int, counted: bool, named: bool) -> None:
    evaluation = judged(classes=tuple(f"kind{i}" for i in range(count)), n=10 * count)
    drawn = plots.confusion_map(evaluation.confusion, evaluation.classes) or ""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    assert ("kind3" in texts) == named
    cells = [str(c) for c in evaluation.confusion[evaluation.confusion > 0]]
    assert (sorted(t for t in texts if t.isdigit()) == sorted(cells)) == counted
    rows = sum(len(t["rows"]) - 1 for t in page(evaluation, []).tables if "recall first" in t["caption"])
    assert rows + (25 if count > 25 else 0) == count  # the first 25 stand in a table called "of worst recall"


def test_more_classes_than_can_be_seen_have_no_map_but_their_tables() -> None:
    evaluation = judged(classes=tuple(f"kind{i}" for i in range(201)), n=600)
    found = page(evaluation, [])
    assert "is not drawn" in found.text
    assert len(found.table("Most common confusions")) == 10


def test_without_records_there_are_no_curves() -> None:
    found = page(judged(), [])
    assert "Training" not in found.text
    assert sum(a.get("role") == "img" for _, a in found.elements) == 3


def test_curves_show_what_was_recorded_and_nothing_else() -> None:
    mixed = [{key: r[key] for key in ("epoch", "train_loss")} for r in RECORDS]
    assert svg.curve(mixed, "top1", "Top-1 accuracy", "%", 100) is None
    loss = svg.curve(mixed, "loss", "Loss", "nats", 1) or ""
    assert ">train<" in loss
    assert ">val<" not in loss
    assert "from 2 to 0.5" in loss
    found = page(judged(), mixed)
    assert "no accuracy on train" in found.text
    assert "those on val after each epoch" not in found.text
    assert "Loss, in nats" in found.text


def test_a_figure_in_a_page_has_attributes_without_namespaces_and_only_ids_that_are_used() -> None:
    drawn = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        '<defs><path id="mark" d="M0 0"/></defs><g id="axes_1"><use xlink:href="#mark"/></g></svg>'
    )
    found = svg.for_page(ElementTree.fromstring(drawn), "two marks")
    assert '<use href="#mark"' in found
    assert 'id="mark"' in found
    assert not [word for word in ("xlink", "ns0", "{", "axes_1") if word in found]


def test_a_loss_that_is_no_number_leaves_a_gap() -> None:
    assert svg.measured([{"epoch": 1, "x": float("nan")}, {"epoch": 2, "x": 1.0}, {"epoch": 3}], "x") == [(2, 1.0)]


@pytest.mark.parametrize(
    ("split", "data", "said"),
    [
        ("test", "bugs", "split, 40 images that were not used in training. The validation split, 10 images"),
        ("val", "bugs", "Evaluated on the validation split, not on the test split"),
        ("train", "bugs", "images that the network learned from"),
        ("all", "other", "The network was trained on bugs; whether the two share images was not checked"),
    ],
)
def test_the_page_says_what_the_judged_images_were_to_training(split: str, data: str, said: str) -> None:
    what = replace(scored(split=split), data=data, trained_on=data == "bugs")
    assert said in report_text.about_split(what, card())


@pytest.mark.parametrize(("count", "told"), [(2, False), (5, False), (6, True)])
def test_top5_is_shown_only_of_more_than_five_classes(count: int, told: bool) -> None:
    evaluation = judged(classes=tuple(f"c{i}" for i in range(count)))
    assert ("Top-5" in page(evaluation).text) == told
    assert ("top-5" in result(evaluation)) == told
    assert ("top5" in report.report_json(made(card(evaluation.classes), evaluation))["metrics"]) == told


def test_a_perfect_network_has_no_mistakes_to_show() -> None:
    what = scored()
    labels = what.scores.argmax(1).numpy()
    found = page(measured(card(), replace(what, images=replace(what.images, targets=labels))))
    assert "all 40 images were classified correctly" in found.text
    assert [t["caption"] for t in found.tables] == ["Every class, worst recall first"]


def test_only_everything_reads_one_hundred_per_cent() -> None:
    assert html.percent(1.0) == "100.00\u00a0%"
    assert html.percent(0.999_99) == "> 99.99\u00a0%"
    assert html.percent(0.5) == "50.00\u00a0%"
    assert html.percent(None) == "–"


def test_the_same_evaluation_gives_the_same_bytes() -> None:
    assert len({report.render(made(card(), judged(), RECORDS)) for _ in range(2)}) == 1


def test_both_calibration_errors_and_their_diagrams_are_shown() -> None:
    fitted = card(calibration={"temperature": 0.7, "split": "val", "n": 10})
    evaluation = judged(fitted)
    found = Page(report.render(made(fitted, evaluation)))
    for key in ("ece", "ece_uncalibrated"):
        assert f"calibration error {100 * evaluation.metrics[key]:.2f}\u00a0%" in found.text
    assert "a temperature of 0.7000, fitted on 10 images of val; it does not change the accuracy" in found.text
    assert "With temperature" not in page(judged(), []).text


def test_the_page_says_where_the_temperature_is_from_or_why_there_is_none() -> None:
    def said(of: Card, protocol: str = "center", split: str = "test") -> str:
        return about_calibration(judged(of, split=split), of, protocol)

    fitted = card(calibration={"temperature": 0.7, "split": "val", "n": 40})
    assert "fitted on 40 images of val; it does not change the accuracy" in said(fitted)
    assert "which are the images evaluated here" in said(fitted, split="val")
    many = {"name": "bugs", "fingerprint": "f1" * 32, "counts": {"train": 90, "val": 100}}
    assert "did not lower the calibration error of the rest" in said(card(data=many))
    assert "the 10 images of val are too few (at least 30)" in said(card())
    without = card(data={"name": "bugs", "fingerprint": ""})
    assert "There was no validation split to fit a temperature on" in said(without)
    assert "No temperature is applied" in said(card(), "ten-crop")
    averaged = card(recipe={"name": "ensemble", "members": ["a", "b"]})
    assert "divided by its own temperature" in said(averaged)
    assert "The mean of the probabilities of a and b." in report_text.about_origin(averaged)


def test_the_bins_of_a_diagram_are_those_of_the_evaluation() -> None:
    evaluation = judged(n=300)
    found = report.report_json(made(card(), evaluation))["calibration"]["bins_uncalibrated"]
    count, right = np.array(found["count"]), np.array(found["right"])
    assert count.sum() == 300
    assert (count * right).sum() == pytest.approx(evaluation.metrics["top1"] * 300)
    drawn = plots.reliability_diagram(evaluation.uncalibrated, "x", several=False)
    assert f"error {100 * evaluation.metrics['ece']:.2f} %" in drawn


def test_what_was_left_out_is_named_with_the_reason() -> None:
    left_out = (("ant/bad.jpg", "cannot be read"), (f"bee/{EVIL}", "twice"))
    evaluation = measured(card(), replace(scored(), left_out=left_out))
    found = page(evaluation, [])
    assert "2 images of bugs in no split, and why" in found.text
    assert "ant/bad.jpg: cannot be read" in found.text
    assert EVIL in found.text
    assert report.report_json(made(card(), evaluation))["left_out"] == [list(pair) for pair in left_out]
    assert "No image of bugs was left out" in page(judged(), []).text
    many = page(measured(card(), replace(scored(), left_out=(("x", "y"),) * 250)), [])
    assert "50 more are in report.json" in many.text


def test_a_report_of_several_labels_has_precision_and_no_confusions(tmp_path: Path) -> None:
    evaluation = judged(n=120, several=True)
    found = page(evaluation)
    assert "Mean average precision" in found.text
    assert "Confusions" not in found.text
    shown = [row[2] for row in found.table("Every class")]
    assert shown == [f"{100 * ap:.2f}\u00a0%" for ap in sorted(row["ap"] for row in evaluation.per_class)]
    report.write_report(tmp_path, made(tagging(), evaluation))
    kept = json.loads((tmp_path / "report.json").read_text())
    assert kept["confusion"] is None
    assert kept["metrics"]["map"] == evaluation.metrics["map"]
    first = kept["predictions"][0]
    assert [name in first["label"] for name in evaluation.classes] == (evaluation.labels[0] > 0).tolist()
    assert [p > 0.5 for p in first["probabilities"]] == [name in first["predicted"] for name in evaluation.classes]


def test_two_hundred_classes_and_ten_thousand_images_make_a_small_page() -> None:
    classes = tuple(f"kind {i}" for i in range(200))
    html = report.render(made(card(classes), judged(classes=classes, n=10_000)))
    assert len(html) < 1_500_000
    assert "Class numbers are those of the table below" in html


# ---------------------------------------------------------------------------------------------------------------------
# In a browser


@pytest.mark.parametrize("kind", ["two classes", "45 classes", "200 classes", "several labels"])
def test_the_page_is_whole_in_a_browser_and_passes_axe(browser, tmp_path: Path, kind: str) -> None:
    """Offline, at the width of a desk and of a telephone, light and dark."""
    count = {"two classes": 2, "45 classes": 45, "200 classes": 200, "several labels": 12}[kind]
    classes = tuple(f"quite a long name of class number {i}" for i in range(count))
    several = kind == "several labels"
    of = (tagging if several else card)(classes, calibration={"temperature": 0.7, "split": "val", "n": 10})
    what = replace(scored(classes, n=300, several=several), left_out=(("ant/bad.jpg", "cannot be read"),))
    file = report.write_report(tmp_path, made(of, measured(of, what), RECORDS))
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    for width, scheme in ((1280, "light"), (390, "dark"), (390, "light"), (1280, "dark")):
        shown, wrong = look(browser, file, width, scheme)
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        hidden = "[...document.images].filter(one => !one.complete || !one.naturalWidth).length"
        assert shown.evaluate(hidden) == 0
        assert not wrong
        if count < 200 and (width, scheme) in ((1280, "light"), (390, "dark")):  # axe takes its time over long tables
            found = axe.Axe().run(shown)
            assert found.violations_count == 0, found.generate_report()
        shown.close()
