"""Two runs compared: McNemar's test against sums of binomial coefficients, its interval against simulations."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from judged import BUGS, card, judged, look, measured, scored

from skipway.commands.evaluate import write_comparison
from skipway.errors import DataError
from skipway.tasks.classify.compare_runs import compare, comparison_json
from skipway.tasks.classify.evaluation import ClassEvaluation
from skipway.tasks.classify.significance import Paired, paired
from skipway.tasks.comparison import holm


def better(share: float, n: int = 400, several: bool = False) -> tuple[ClassEvaluation, ClassEvaluation]:
    """An evaluation, and one of the same images with `share` of its mistakes mended."""
    first = scored(n=n, several=several)
    wrong = np.flatnonzero(~judged(n=n, several=several).correct)
    mended = wrong[: round(share * len(wrong))]
    labels, scores = torch.from_numpy(first.images.labels), first.scores.clone()
    scores[mended] = 20.0 * labels[mended] - 10 if several else 10 * torch.eye(3)[labels[mended]]
    of = card(task="tag" if several else "classify")
    return measured(of, first), measured(of, replace(first, outputs=(scores,)))


def exact(b: int, c: int) -> float:
    """Twice the smaller tail of b and c heads and tails, at most 1."""
    n = b + c
    tail = sum(math.comb(n, k) for k in range(min(b, c) + 1)) / 2**n
    return min(1.0, 2 * tail)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 1), (3, 9), (10, 10), (120, 171), (0, 14)])
def test_the_test_is_the_sum_of_binomial_coefficients(b: int, c: int) -> None:
    assert Paired(500, b, c, 20).p == pytest.approx(exact(b, c), abs=1e-6)


def test_counts_are_of_the_four_cells() -> None:
    first, second = np.array([1, 1, 0, 0, 1], dtype=bool), np.array([1, 0, 1, 0, 0], dtype=bool)
    assert paired(first, second) == Paired(1, 2, 1, 1)
    assert paired(first, second).difference == pytest.approx(-0.2)


@pytest.mark.parametrize("cells", [(0.8, 0.05, 0.08, 0.07), (0.6, 0.02, 0.02, 0.36), (0.2, 0.3, 0.1, 0.4)])
def test_the_interval_holds_the_true_difference_in_95_of_100_samples(cells: tuple[float, ...]) -> None:
    draws = np.random.default_rng(0).multinomial(200, cells, 2000)
    ends = np.array([Paired(*map(int, draw)).interval for draw in draws])
    held = np.mean((ends[:, 0] <= cells[2] - cells[1]) & (cells[2] - cells[1] <= ends[:, 1]))
    assert 0.94 < held < 0.98


def test_holms_correction_is_that_of_its_definition() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.5]) == pytest.approx([1.0, 1.0])
    assert holm([0.04]) == [0.04]


@pytest.mark.parametrize("several", [False, True])
def test_a_real_difference_is_called_so_with_its_figures(several: bool) -> None:
    first, second = better(0.5, several=several)
    found = comparison_json(compare(["old", "new"], [first, second], "again"))
    (other,) = found["against_first"]
    only_second = int((second.correct & ~first.correct).sum())
    assert (other["only_first"], other["only_second"]) == (0, only_second)
    assert other["p"] == pytest.approx(exact(0, only_second), abs=1e-12)
    assert other["real"]
    assert other["difference"] == pytest.approx(second.correct.mean() - first.correct.mean())
    assert f"new is better than old by {100 * other['difference']:.2f} points" in other["sentence"]
    assert "the difference is significant" in other["sentence"]
    turned = comparison_json(compare(["new", "old"], [second, first], "again"))["against_first"][0]
    assert "old is worse than new" in turned["sentence"]
    assert turned["p"] == other["p"]
    assert turned["interval"] == pytest.approx([-end for end in reversed(other["interval"])])


def test_chance_is_not_called_a_difference() -> None:
    first, second = better(0.06, n=200)
    assert not np.array_equal(first.correct, second.correct)
    (other,) = comparison_json(compare(["old", "new"], [first, second], "again"))["against_first"]
    assert not other["real"]
    assert other["sentence"].startswith("No significant difference between new and old on these 200 images")


def test_the_classes_that_differ_are_named_with_both_recalls() -> None:
    first, second = better(0.3)
    (other,) = compare(["old", "new"], [first, second], "again").others
    assert other.classes
    gaps = [abs(row["difference"]) for row in other.classes]
    assert gaps == sorted(gaps, reverse=True)
    for row in other.classes:
        members = first.labels == BUGS.index(row["class"])
        assert row["first"] == pytest.approx(first.correct[members].mean())
        assert row["second"] == pytest.approx(second.correct[members].mean())


def test_several_runs_are_each_tested_against_the_first_with_a_correction() -> None:
    first, second = better(0.12)
    _, third = better(0.3)
    found = compare(["a", "b", "c"], [first, second, third], "again")
    alone = [compare(["a", "x"], [first, other], "again").others[0].p for other in (second, third)]
    assert [other.p for other in found.others] == holm(alone)
    assert "Holm's correction" in comparison_json(found)["against_first"][0]["sentence"]


def test_runs_of_other_classes_or_images_are_refused() -> None:
    first = judged()
    with pytest.raises(DataError, match=r"a and b have different classes \(cat, dog\)"):
        compare(["a", "b"], [first, judged(classes=("ant", "bee", "dog"))], "again")
    with pytest.raises(DataError, match="predicts several labels an image"):
        compare(["a", "b"], [first, judged(several=True)], "again")
    with pytest.raises(DataError, match="have different images in val"):
        compare(["a", "b"], [judged(split="val"), judged(split="val", n=41)], "again")


@pytest.mark.parametrize("several", [False, True])
def test_the_page_is_whole_in_a_browser_and_passes_axe(browser, tmp_path: Path, several: bool) -> None:
    first, second = better(0.5, several=several)
    page_file = write_comparison(tmp_path, compare(["old <b>run</b>", "new"], [first, second], "skipway eval old new"))
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    for width, scheme in ((1280, "light"), (390, "dark")):
        page, wrong = look(browser, page_file, width, scheme)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert not wrong
    assert "old <b>run</b>" in page.inner_text("h2 >> nth=1")
    assert json.loads((tmp_path / "comparison.json").read_text())["n"] == 400
