"""report.html and report.json against counts made with NumPy, and a parser that knows nothing of the template."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from skipway.bundle import Card
from skipway.evaluation import plots, report
from skipway.evaluation.evaluate import Evaluation, class_table, interval

RECORDS: list[dict[str, Any]] = [
    {"epoch": e, "train_loss": 2 / e, "train_top1": 1 - 1 / (e + 1), "val_loss": 2.2 / e, "val_top1": 1 - 1 / (e + 2)}
    for e in range(1, 5)
]
EVIL = "<script>alert('&')</script>"


def judged(
    classes: tuple[str, ...] = ("ant", "bee", "cat"), n: int = 40, split: str = "test", empty: int | None = None
) -> Evaluation:
    """Some 70 % right, at random but repeatable; the class numbered `empty` has no image."""
    count, rng = len(classes), np.random.default_rng(3)
    labels = rng.choice([k for k in range(count) if k != empty], n)
    scores = rng.normal(size=(n, count)) + 2.2 * np.eye(count)[labels]
    probabilities = (np.exp(scores) / np.exp(scores).sum(1, keepdims=True)).astype(np.float32)
    confusion = np.zeros((count, count), dtype=np.int64)
    np.add.at(confusion, (labels, probabilities.argmax(1)), 1)
    right = int(np.trace(confusion))
    metrics = {"n": n, "loss": 0.5, "top1": right / n, "top5": 1.0}
    metrics |= {"top1_interval": interval(right, n), "top5_interval": interval(n, n)}
    names = tuple(f"{classes[label]}/{i:04d}.jpg" for i, label in enumerate(labels))
    table = class_table(confusion, classes)
    return Evaluation(split, "bugs", classes, names, labels, probabilities, confusion, metrics, table, 1.5, True)


def card(classes: tuple[str, ...] = ("ant", "bee", "cat")) -> Card:
    return Card(
        task="classify",
        network={"name": "resnet20", "classes": len(classes), "channels": 3, "stem": "small"},
        classes=list(classes),
        preprocessing={"channels": 3, "size": 32},
        recipe={"name": "quick", "pretrained": "", "label_smoothing": 0.1, "milestones": [0.5, 0.75], "flip": False},
        data={"name": "bugs", "fingerprint": "f1" * 32, "counts": {"train": 90, "val": 10, "test": 40}},
        hardware={"device": "a processor", "precision": "float32"},
        versions={"python": "3.11.7", "torch": "2.11.0"},
        commit="abc1234",
        created="2026-07-30T12:00:00+00:00",
        parameters=272_474,
        seconds=12.5,
    )


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
    evaluation: Evaluation, records: list[dict[str, Any]] | None = None, command: str = "skipway eval run bugs"
) -> Page:
    records = RECORDS if records is None else records
    return Page(report.render(evaluation, card(evaluation.classes), records, command))


def test_the_figures_in_report_json_are_those_that_numpy_counts(tmp_path: Path) -> None:
    evaluation = judged()
    assert report.write_report(tmp_path, evaluation, card(), RECORDS, "again") == tmp_path / "report.html"
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
    report.write_report(tmp_path, evaluation, card(), [], "again")
    found = json.loads((tmp_path / "report.json").read_text())
    kept = np.array([p["probability"] for p in found["predictions"]])
    assert np.array_equal(kept, evaluation.probabilities.max(1).astype(np.float64))
    assert [p["name"] for p in found["predictions"]] == list(evaluation.names)
    assert found == report.report_json(evaluation, card())


def test_the_page_asks_for_nothing_outside_itself(tmp_path: Path) -> None:
    found = page(judged(tuple(f"class {i}" for i in range(30)), 300))
    assert {tag for tag, _ in found.elements}.isdisjoint(
        {"script", "link", "iframe", "object", "embed", "base", "form"}
    )
    for _, attributes in found.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name.split(":")[-1] in {"src", "href", "srcset", "action", "data", "poster"}:
                assert (value or "").startswith(("#", "data:image/png;base64,"))
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
    evaluation = judged((EVIL, "bee", "$x_{$"))
    evaluation = replace(evaluation, names=tuple(f"{i}{EVIL}" for i in range(40)), data=EVIL)
    found = page(evaluation, command=f"skipway eval run {EVIL}")
    assert "script" not in {tag for tag, _ in found.elements}
    assert EVIL in [row[0] for row in found.table("Every class")]
    assert all(row[0].endswith(EVIL) for row in found.table("most confident"))
    assert f"skipway eval run {EVIL}" in found.text
    assert "$x_{$" in found.text  # not read as a formula


def test_names_that_no_file_can_hold_are_escaped_and_survive_in_json(tmp_path: Path) -> None:
    odd = "ant/\udcff\x00\n.jpg"
    evaluation = judged(("a\x07nt", "猫", "cat"))
    evaluation = replace(evaluation, names=(odd,) * 40)
    report.write_report(tmp_path, evaluation, card(), [], "again")
    assert json.loads((tmp_path / "report.json").read_text())["predictions"][0]["name"] == odd
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert r"ant/\udcff\x00\n.jpg" in text
    assert r"a\x07nt" in text


def test_the_worst_class_comes_first_and_one_without_images_has_dashes() -> None:
    evaluation = judged(("ant", "bee", "cat", "dog"), 60, empty=1)
    rows = page(evaluation).table("Every class")
    assert [row[0] for row in rows][-1] == "bee"
    assert rows[-1][2] == rows[-1][4] == "–"
    said = evaluation.probabilities.argmax(1)
    hits = {evaluation.classes[i]: np.mean(said[evaluation.labels == i] == i) for i in (0, 2, 3)}
    assert [row[0] for row in rows[:3]] == sorted(hits, key=lambda name: hits[name])
    assert rows[0][2] == f"{100 * min(hits.values()):.2f}\u00a0%"


def test_the_confusions_and_the_mistakes_are_the_greatest_in_order() -> None:
    evaluation = judged(n=200)
    found, said = page(evaluation), evaluation.probabilities.argmax(1)
    wrong = evaluation.labels != said
    counts = [int(row[1]) for row in found.table("Most common confusions")]
    pairs = np.unique(np.stack([evaluation.labels, said])[:, wrong], axis=1, return_counts=True)[1]
    assert counts == sorted(pairs.tolist(), reverse=True)[:10]
    shown = [row[0] for row in found.table("most confident")]
    confidence = np.where(wrong, evaluation.probabilities.max(1), -1)
    assert shown == [evaluation.names[i] for i in np.argsort(-confidence, kind="stable")[:12]]


def test_every_table_has_a_caption_and_header_cells() -> None:
    for evaluation in (judged(), judged(tuple(f"class {i}" for i in range(40)), 400)):
        found = page(evaluation)
        assert len(found.tables) >= 3
        for table in found.tables:
            assert table["caption"].strip()
            assert table["scopes"].count("col") == len(table["rows"][0])
            assert table["scopes"].count("row") == len(table["rows"]) - 1
            assert {len(row) for row in table["rows"]} == {len(table["rows"][0])}


def test_every_figure_says_what_it_shows_and_the_page_its_language() -> None:
    found = page(judged())
    figures = [a for tag, a in found.elements if tag == "svg" and a.get("aria-hidden") != "true"]
    assert len(figures) == 3
    assert all(a["role"] == "img" and len(a["aria-label"] or "") > 20 for a in figures)
    assert dict(found.elements)["html"]["lang"] == "en-GB"
    headings = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(headings))


@pytest.mark.parametrize(("count", "counted", "named"), [(20, True, True), (40, False, True), (200, False, False)])
def test_the_matrix_shows_what_fits(count: int, counted: bool, named: bool) -> None:
    evaluation = judged(tuple(f"kind{i}" for i in range(count)), 10 * count)
    drawn = plots.confusion_map(evaluation.confusion, evaluation.classes) or ""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    assert ("kind3" in texts) == named
    cells = [str(c) for c in evaluation.confusion[evaluation.confusion > 0]]
    assert (sorted(t for t in texts if t.isdigit()) == sorted(cells)) == counted
    rows = sum(len(t["rows"]) - 1 for t in page(evaluation, []).tables if "recall first" in t["caption"])
    assert rows + (25 if count > 25 else 0) == count  # the first 25 stand in a table called "of worst recall"


def test_more_classes_than_can_be_seen_have_no_map_but_their_tables() -> None:
    evaluation = judged(tuple(f"kind{i}" for i in range(201)), 600)
    found = page(evaluation, [])
    assert "is not drawn" in found.text
    assert len(found.table("Most common confusions")) == 10


def test_without_records_there_are_no_curves() -> None:
    found = page(judged(), [])
    assert "Training" not in found.text
    assert sum(a.get("role") == "img" for _, a in found.elements) == 1


def test_curves_show_what_was_recorded_and_nothing_else() -> None:
    mixed = [{key: r[key] for key in ("epoch", "train_loss")} for r in RECORDS]
    assert plots.curve(mixed, "top1") is None
    loss = plots.curve(mixed, "loss") or ""
    assert ">train<" in loss
    assert ">val<" not in loss
    assert "from 2 to 0.5" in loss
    found = page(judged(), mixed)
    assert "no accuracy on train" in found.text
    assert "val after each epoch" not in found.text


def test_a_loss_that_is_no_number_leaves_a_gap() -> None:
    assert plots.measured([{"epoch": 1, "x": float("nan")}, {"epoch": 2, "x": 1.0}, {"epoch": 3}], "x") == [(2, 1.0)]


@pytest.mark.parametrize(
    ("split", "data", "said"),
    [
        ("test", "bugs", "Judged on test, 40 images that training never saw. Val, 10 images"),
        ("val", "bugs", "Judged on val, not on test"),
        ("train", "bugs", "images that the network learned from"),
        ("all", "other", "The network was trained on bugs; whether the two share images was not checked"),
    ],
)
def test_the_page_says_what_the_judged_images_were_to_training(split: str, data: str, said: str) -> None:
    found = replace(judged(split=split), data=data, trained_on=data == "bugs")
    assert said in page(found).text


def test_a_perfect_network_has_no_mistakes_to_show() -> None:
    evaluation = judged()
    labels = evaluation.probabilities.argmax(1)
    confusion = np.diag(np.bincount(labels, minlength=3))
    metrics = evaluation.metrics | {"top1": 1.0, "top1_interval": interval(40, 40)}
    table = class_table(confusion, evaluation.classes)
    found = page(replace(evaluation, labels=labels, confusion=confusion, metrics=metrics, per_class=table))
    assert "all 40 images were classified right" in found.text
    assert [t["caption"] for t in found.tables] == ["Every class, worst recall first"]


def test_only_everything_reads_one_hundred_per_cent() -> None:
    assert report.percent(1.0) == "100.00\u00a0%"
    assert report.percent(0.999_99) == "> 99.99\u00a0%"
    assert report.percent(0.5) == "50.00\u00a0%"
    assert report.percent(None) == "–"


def test_the_same_evaluation_gives_the_same_bytes() -> None:
    pages = {report.render(judged(), card(), RECORDS, "again") for _ in range(2)}
    assert len(pages) == 1
