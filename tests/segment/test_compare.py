"""Two segmenters compared: against a bootstrap written out, and against what is known of equal ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judged import look
from segmented import STREET, segmented

from skipway.commands.evaluate import write_comparison
from skipway.errors import DataError
from skipway.tasks.comparison import holm
from skipway.tasks.segment.compare_runs import compare
from skipway.tasks.segment.evaluation import SegmentEvaluation


def mean_iou(confusion: np.ndarray) -> float:
    """Intersection over union, class by class."""
    values = []
    for label in range(len(confusion)):
        either = confusion[label].sum() + confusion[:, label].sum() - confusion[label, label]
        values += [confusion[label, label] / either] if either else []
    return float(np.mean(values))


def by_hand(first: SegmentEvaluation, second: SegmentEvaluation, samples: int) -> np.ndarray:
    """The difference in each of `samples` samples, the images of one drawn one after the other."""
    rng, n = np.random.default_rng(3), first.metrics["n"]
    drawn = []
    for _ in range(samples):
        places = rng.integers(0, n, n)
        drawn.append(mean_iou(second.images.confusion[places].sum(0)) - mean_iou(first.images.confusion[places].sum(0)))
    return np.array(drawn)


def test_the_interval_is_that_of_samples_drawn_image_by_image() -> None:
    first, second = segmented(right=0.75, n=30), segmented(right=0.8, n=30)
    [other] = compare(["old", "new"], [first, second], "again").others
    drawn = by_hand(first, second, 1000)
    whole = mean_iou(second.confusion) - mean_iou(first.confusion)
    assert other.found.value == pytest.approx(whole, abs=1e-12)
    assert other.found.interval == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=4 * drawn.std() / 30)
    assert other.significant == (drawn > 0).all()


def test_a_run_does_not_differ_from_itself() -> None:
    one = segmented()
    [other] = compare(["a", "b"], [one, segmented()], "again").others
    assert (other.found.value, other.found.interval, other.p) == (0, (0, 0), 1)
    assert not other.significant


def test_a_worse_run_is_called_so_and_turned_around_it_is_the_better_one() -> None:
    good, bad = segmented(right=0.9), segmented(right=0.6)
    ahead, behind = compare(["good", "bad"], [good, bad], "x"), compare(["bad", "good"], [bad, good], "x")
    gap = 100 * (mean_iou(good.confusion) - mean_iou(bad.confusion))
    assert f"bad is worse than good by {gap:.1f} points of mIoU, and the difference is significant" in ahead.verdict()
    assert f"good is better than bad by {gap:.1f} points of mIoU" in behind.verdict()
    [a], [b] = ahead.others, behind.others
    assert a.found.interval == pytest.approx([-end for end in reversed(b.found.interval)])


def test_the_same_comparison_gives_the_same_bytes() -> None:
    pages = [compare(["a", "b"], [segmented(right=0.7), segmented()], "x").page() for _ in range(2)]
    assert pages[0] == pages[1]


def test_classes_are_matched_by_name_the_most_different_first() -> None:
    first, second = segmented(never=2), segmented()
    [other] = compare(["a", "b"], [first, second], "x").others
    assert other.classes[0]["class"] == "car" and other.classes[0]["first"] == 0
    gaps = [abs(row["difference"]) for row in other.classes]
    assert gaps == sorted(gaps, reverse=True)
    truth = dict(zip(STREET, second.confusion.sum(1).tolist(), strict=True))
    for row in other.classes:
        assert row["pixels"] == truth[row["class"]]


def test_several_runs_are_corrected_by_holm() -> None:
    runs = [segmented(right=right) for right in (0.7, 0.71, 0.9)]
    found = compare(["a", "b", "c"], runs, "x")
    assert [one.p for one in found.others] == holm([one.found.p for one in found.others])
    assert "with Holm's correction" in found.verdict()


def test_other_images_and_other_classes_are_refused() -> None:
    with pytest.raises(DataError, match="a and b have different images in test"):
        compare(["a", "b"], [segmented(n=4), segmented(n=5)], "x")
    with pytest.raises(DataError, match=r"a and b have different classes \(bus, sign\)"):
        compare(["a", "b"], [segmented(n=4), segmented(n=4, classes=("sky", "road", "car", "bus"))], "x")


def test_the_page_is_whole_in_a_browser_and_passes_axe(browser: Any, tmp_path: Path) -> None:
    found = compare(["old <b>run</b>", "new"], [segmented(right=0.6), segmented()], "skipway eval old new")
    file = write_comparison(tmp_path, found)
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    for width, scheme in ((1280, "light"), (390, "dark")):
        page, wrong = look(browser, file, width, scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert axe.Axe().run(page).violations_count == 0
        assert not wrong
    assert "old <b>run</b>" in page.inner_text("h2 >> nth=1")
    plain = json.loads((tmp_path / "comparison.json").read_text())
    assert plain["against_first"][0]["significant"] and plain["n"] == 12
