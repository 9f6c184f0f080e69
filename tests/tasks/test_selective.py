"""Thresholds for unsure answers keep their promise, and scores tell far images apart as scikit-learn counts it."""

import numpy as np
import pytest
import torch
from scipy.stats import binom
from sklearn.metrics import roc_auc_score

from skipway.errors import SkipwayError
from skipway.tasks import task_named
from skipway.tasks.classify.deciding import deciding
from skipway.tasks.classify.decision import Decision
from skipway.tasks.classify.out_of_distribution import OOD_SCORES, auroc, separation
from skipway.tasks.classify.present import ClassPresenter
from skipway.tasks.classify.selective import error_bound, guaranteed_threshold, operating_points, risk_coverage


def answers(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Confidences, evenly spread, and answers that are correct with this probability."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.5, 1, n)
    return confidence, rng.random(n) < confidence


def test_the_bound_is_the_error_that_makes_so_few_mistakes_improbable() -> None:
    for wrong, answered in ((0, 50), (3, 100), (20, 90)):
        assert binom.cdf(wrong, answered, error_bound(wrong, answered, 0.05)) == pytest.approx(0.05)
    assert error_bound(7, 7, 0.05) == 1


def test_error_by_coverage_is_counted_by_hand() -> None:
    found = risk_coverage(np.array([0.9, 0.5, 0.7, 0.7]), np.array([True, False, True, False]))
    assert found.coverage.tolist() == [0.25, 0.75, 1]
    assert found.error.tolist() == pytest.approx([0, 1 / 3, 0.5])
    assert found.aurc == pytest.approx(0.25 * 0 + 0.5 / 3 + 0.25 * 0.5)


def test_the_error_of_new_answers_is_above_the_target_in_at_most_one_case_of_20() -> None:
    broken = 0
    new_confidence, new_correct = answers(200_000, seed=10_000)
    for seed in range(60):
        point = guaranteed_threshold(*answers(2000, seed), error=0.1)
        assert point is not None
        broken += (~new_correct[new_confidence >= point.threshold]).mean() > 0.1
    assert broken <= 3


def test_a_smaller_error_costs_coverage() -> None:
    points = operating_points(*answers(20_000))
    coverages = [point.coverage for point in points]
    assert len(points) >= 2
    assert coverages == sorted(coverages, reverse=True)
    assert all(0 < coverage < 1 for coverage in coverages)


def test_few_images_allow_no_threshold() -> None:
    assert operating_points(np.full(10, 0.99), np.ones(10, bool)) == []
    assert operating_points(np.full(500, 0.99), np.zeros(500, bool)) == []


def test_all_are_answered_where_every_answer_is_correct() -> None:
    point = guaranteed_threshold(np.linspace(0.5, 1, 500), np.ones(500, bool), 0.05)
    assert point is not None
    assert point.coverage == 1


# far images


def test_auroc_is_scikit_learns_with_ties() -> None:
    rng = np.random.default_rng(0)
    near, far = rng.integers(3, 12, 200).astype(float), rng.integers(0, 9, 300).astype(float)
    expected = roc_auc_score(np.repeat([1, 0], [200, 300]), np.concatenate([near, far]))
    assert auroc(near, far) == pytest.approx(expected)


def test_scores_are_those_of_their_papers() -> None:
    scores = torch.tensor([[2.0, 1.0, -1.0]])
    exponentials = np.exp([2.0, 1.0, -1.0])
    assert OOD_SCORES["energy"](scores).item() == pytest.approx(np.log(exponentials.sum()))
    assert OOD_SCORES["maximum logit"](scores).item() == 2
    assert OOD_SCORES["maximum probability"](scores).item() == pytest.approx(exponentials[0] / exponentials.sum())


def test_the_share_of_far_images_kept_is_counted_at_95_percent_of_the_near() -> None:
    near, far = torch.zeros(100, 2), torch.zeros(10, 2)
    near[:, 0] = torch.arange(100)
    far[:3, 0] = 50
    far[3:, 0] = -50
    found = next(one for one in separation(near, far) if one.score == "maximum logit")
    assert found.kept_far == pytest.approx(0.3)
    assert found.n == 10


# decisions

VAL = {"operating_points": [{"error": 0.05, "threshold": 0.8, "coverage": 0.9}], "energy_kept": 3.0}


def test_an_answer_below_the_threshold_is_unsure_and_one_of_low_energy_out_of_distribution() -> None:
    task = deciding(task_named("classify", ("a", "b")), 0.07, {"val": VAL})
    rows = [
        (torch.tensor([5.0, 0.0]), False, False),
        (torch.tensor([5.0, 4.9]), True, False),
        (torch.tensor([0.0, -9.0]), False, True),
    ]
    for scores, unsure, out_of_distribution in rows:
        found = task.predict("x", (scores,), (1, 1), 1.0, 2)
        assert (found.unsure, found.out_of_distribution) == (unsure, out_of_distribution)
        row = task.presenter.row(found)
        assert (row["unsure"], row["out_of_distribution"]) == (unsure, out_of_distribution)
        assert task.presenter.csv_rows(found, 2)[0][-2:] == [int(unsure), int(out_of_distribution)]
    assert len(task.presenter.csv_rows(None, 2)[0]) == len(task.presenter.csv_header(2))


def test_no_marks_where_none_are_asked_for() -> None:
    task = task_named("classify", ("a", "b"))
    found = task.predict("x", (torch.tensor([1.0, 0.0]),), (1, 1), 1.0, 2)
    assert found.unsure is None
    assert set(ClassPresenter().row(found)) == {"classes"}


@pytest.mark.parametrize(
    ("error", "metrics", "said"),
    [(0.05, {}, "more images in val"), (0.01, {"val": VAL}, "one of 0.05"), (1.5, {"val": VAL}, "between 0 and 1")],
)
def test_what_cannot_be_decided_is_said(error: float, metrics: dict, said: str) -> None:
    with pytest.raises(SkipwayError, match=said):
        deciding(task_named("classify", ("a", "b")), error, metrics)


def test_other_tasks_mark_no_answers() -> None:
    with pytest.raises(SkipwayError, match="one class an image"):
        deciding(task_named("tag", ("a", "b")), 0.05, {"val": VAL})


def test_the_largest_error_that_is_allowed_is_taken() -> None:
    points = [{"error": e, "threshold": t, "coverage": 0.5} for e, t in ((0.1, 0.6), (0.05, 0.7), (0.01, 0.9))]
    assert Decision.for_error(0.06, {"val": {**VAL, "operating_points": points}}).unsure_below == 0.7
