"""report.html and report.json of a segmenter against counts made with NumPy, its pictures decoded, and its findings."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from judged import look
from PIL import Image
from segmented import SEEN, STREET, context, drawn, report, scored, segmented

from skipway.data.mask_targets import IGNORE
from skipway.evaluation.report import write_report
from skipway.reporting.palette import palette
from skipway.tasks.segment.evaluation import SegmentEvaluation, measure
from skipway.tasks.segment.gallery import gallery
from skipway.tasks.segment.label_maps import statistics
from skipway.tasks.segment.reporter import SegmentReporter

HOW = SegmentReporter()
RECORDS: list[dict[str, Any]] = [
    {"epoch": e, "step": 9 * e, "train_loss": 2 / e, "val_loss": 2.2 / e, "val_miou": 1 - 1 / (e + 2)}
    for e in range(1, 5)
]


def iou_of(confusion: np.ndarray, label: int) -> float:
    return confusion[label, label] / (confusion[label].sum() + confusion[:, label].sum() - confusion[label, label])


def rows_of(page: str) -> list[list[str]]:
    """The rows of the table of classes, as text."""
    body = re.search(r'<table class="classes">.*?<tbody>(.*?)</tbody>', page, re.DOTALL)
    assert body is not None
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in body[1].split("</tr>") if "<t" in row]
    return [[" ".join(re.sub("<[^>]+>", " ", cell).split()) for cell in row] for row in cells]


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


def test_every_class_is_in_the_table_with_its_figures(tmp_path: Path) -> None:
    found = segmented()
    table = rows_of(write_report(tmp_path, report(found, RECORDS)).read_text())
    assert {row[0] for row in table} == set(STREET)
    shown = [float(row[1].split()[0]) for row in table]
    assert shown == sorted(shown), "the lowest IoU first"
    truth = np.concatenate([labels[labels != IGNORE] for labels in drawn(12, 4)[1]])
    for name, iou, _, accuracy, _, share, predicted, images in table:
        label = STREET.index(name)
        assert iou == f"{100 * iou_of(found.confusion, label):.2f} %"
        assert accuracy == f"{100 * found.confusion[label, label] / found.confusion[label].sum():.2f} %"
        assert share == f"{100 * (truth == label).mean():.2f} %"
        assert predicted == f"{100 * found.confusion[:, label].sum() / found.confusion.sum():.2f} %"
        assert images == "12"


def test_a_class_that_does_not_occur_is_in_the_table_and_marked(tmp_path: Path) -> None:
    found = segmented(classes=(*STREET, "tram", "boat"), drawn_classes=4, right=1.0)
    page = write_report(tmp_path, report(found)).read_text()
    table = {row[0]: row[1:] for row in rows_of(page)}
    assert table["boat absent"][0] == "–"
    assert set(table) == {*STREET, "tram absent", "boat absent"}
    assert "Grey rows have no pixel" in page


def test_the_json_holds_the_counts_and_a_row_for_each_image(tmp_path: Path) -> None:
    found = segmented()
    write_report(tmp_path, report(found))
    plain = json.loads((tmp_path / "report.json").read_text())
    assert plain["confusion"] == {"classes": list(STREET), "matrix": found.confusion.tolist()}
    assert sum(plain["calibration"]["bins"]["count"]) == found.confusion.sum()
    for row, counts, name in zip(plain["predictions"], found.images.confusion, found.names, strict=True):
        assert row["name"] == name
        assert row["iou"] == pytest.approx({STREET[i]: iou_of(counts, i) for i in range(4)})
        assert row["miou"] == pytest.approx(np.mean([iou_of(counts, i) for i in range(4)]))
        assert row["pixel_accuracy"] == pytest.approx(np.trace(counts) / counts.sum())


def test_the_gallery_has_the_worst_images_first_and_the_best_without_repeating_one() -> None:
    found = segmented()
    shown = gallery(found, SEEN)
    order = np.argsort([np.mean([iou_of(counts, i) for i in range(4)]) for counts in found.images.confusion])
    assert [row.name for row in shown.worst] == [found.names[i] for i in order[:8]]
    assert [row.name for row in shown.best] == [found.names[i] for i in order[::-1][:4]]


def test_the_pictures_are_the_truth_and_the_prediction_in_the_colours_of_the_legend() -> None:
    found = segmented()
    shown = gallery(found, SEEN)
    colours = {name: tuple(palette(4)[i].tolist()) for i, name in enumerate(STREET)}
    assert dict(shown.legend) == {name: "#{:02x}{:02x}{:02x}".format(*colour) for name, colour in colours.items()}
    row = shown.worst[0]
    place = list(found.names).index(row.name)
    labels = drawn(12, 4)[1][place]
    truth, predicted, wrong = (pixels(panel.picture) for panel in row.panels[1:])
    height, width = truth.shape[:2]
    at = ((np.arange(n) + 0.5) * own / n for n, own in zip((height, width), labels.shape, strict=True))
    expected = labels[np.ix_(*(centres.astype(int) for centres in at))]
    for label, colour in enumerate(colours.values()):
        assert np.array_equal((truth == colour).all(2), expected == label), "lossless, each pixel that of its class"
    ignored = expected == IGNORE
    assert (truth[ignored] == 255).all()
    differ = (truth != predicted).any(2) & ~ignored
    orange = np.abs(wrong.astype(int) - (213, 94, 0)).max(2) < 90
    assert (orange == differ)[~ignored].mean() > 0.97, "what is marked is where the two differ, but for compression"
    assert differ[~ignored].mean() == pytest.approx(row.wrong, abs=0.06)


def test_images_without_a_mistake_are_not_among_the_worst(tmp_path: Path) -> None:
    found = segmented(right=1.0)
    counts = zip(found.names, found.images.confusion, strict=True)
    exact = [name for name, matrix in counts if np.trace(matrix) == matrix.sum()]
    assert exact and not {row.name for row in gallery(found, SEEN).worst} & set(exact)


def constant(label: int) -> SegmentEvaluation:
    """One class is predicted for every pixel."""
    found = scored()
    logits = torch.zeros(12, 4, *SEEN.canvas)
    logits[:, label] = 5
    return measure(replace(found, outputs=statistics((logits,), found.images.targets.tensor(), SEEN)), SEEN)


def test_a_constant_prediction_is_found_out_with_the_likely_causes() -> None:
    found = constant(1)
    [finding] = HOW.findings(found, context(records=RECORDS))
    assert finding.severity == "error" and "no better than predicting one class" in finding.title
    assert "36 steps" in finding.advice[0]
    most = found.confusion.sum(1).max() / found.confusion.sum()
    assert f"gives {100 * most / 4:.2f}\u00a0%" in finding.detail
    assert f"mean IoU of {100 * most / 4:.2f}\u00a0%" in HOW.baseline(found)


def test_a_network_that_learnt_has_no_findings() -> None:
    assert HOW.findings(segmented(), context(records=RECORDS)) == []


def test_a_class_never_predicted_is_named_with_the_advice_to_weigh_classes() -> None:
    found = segmented(never=2)
    [finding] = HOW.findings(found, context())
    assert finding.severity == "warning" and "'car'" in finding.detail
    assert "--balance weights" in finding.advice[0]
    share = found.confusion[2].sum() / found.confusion.sum()
    assert f"{100 * share:.2f}\u00a0% of the pixels" in finding.detail


def test_a_class_absent_from_the_split_is_named() -> None:
    [finding] = HOW.findings(segmented(classes=(*STREET, "tram"), drawn_classes=4), context())
    assert "do not occur in test" in finding.title and "'tram'" in finding.detail
    assert "IoU of 0 lowers the mean" in finding.detail, "it is predicted now and then"


def test_the_console_and_the_headlines_say_the_measured_figures() -> None:
    found = segmented()
    m = found.metrics
    assert HOW.figures(found)[0][1] == f"{100 * m['miou']:.2f}\u00a0%"
    assert HOW.result(found).startswith(f"test mean IoU {100 * m['miou']:.2f} % (95 % interval ")
    assert HOW.result(found).endswith(f"calibration error {100 * m['ece']:.2f} %")


def test_the_page_is_whole_in_a_browser_and_passes_axe(browser: Any, tmp_path: Path) -> None:
    names = ("sky", "road <script>alert(1)</script>", "car", "sign", "tram")
    made = report(segmented(classes=names, drawn_classes=4), RECORDS)
    file = write_report(tmp_path, made)
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    for width, scheme in ((1280, "light"), (390, "dark")):
        page, wrong = look(browser, file, width, scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert not wrong, "nothing is asked for outside of the file"
        assert page.locator(".panels img").count() == 4 * 12
    assert file.read_bytes() == write_report(tmp_path, made).read_bytes(), "the same report gives the same bytes"
