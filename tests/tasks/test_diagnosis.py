"""A network that learnt nothing is told from one that did, on answers made by hand."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from judged import BUGS, card, images, look, measured, scored, tagging
from judged import report as made

from skipway.evaluation.report import render, report_json, write_report
from skipway.tasks.base import SplitOutputs
from skipway.tasks.classify import diagnosis
from skipway.tasks.classify.diagnosis import diagnose
from skipway.tasks.classify.evaluation import ClassEvaluation
from skipway.training.recipes import Recipe

RECIPE = card().recipe
RUN = {"epoch": 9, "step": 5000, "train_loss": 0.4, "train_top1": 0.6}


def answered(labels: Any, said: Any, classes: tuple[str, ...] = BUGS, **changes: Any) -> ClassEvaluation:
    """An evaluation of images with `labels` that were answered `said`."""
    labels, scores = np.array(labels), torch.eye(len(classes))[torch.as_tensor(np.array(said))] * 5
    names = tuple(map(str, range(len(labels))))
    found = SplitOutputs("bugs", "test", classes, images(labels, names), "f1" * 32, True, (), (scores,), 1.0)
    return measured(card(classes), replace(found, **changes))


def tagged(labels: np.ndarray, scores: np.ndarray, classes: tuple[str, ...] = BUGS) -> ClassEvaluation:
    names = tuple(map(str, range(len(labels))))
    found = torch.from_numpy(scores.astype(np.float32))
    split = images(labels.astype(np.uint8), names)
    return measured(tagging(classes), SplitOutputs("bugs", "test", classes, split, "f1" * 32, True, (), (found,), 1.0))


def titles(evaluation: ClassEvaluation) -> list[tuple[str, str]]:
    of = (tagging if evaluation.several else card)(evaluation.classes)
    return [(finding.severity, finding.title) for finding in diagnose(of, [RUN], evaluation)]


def advice(records: list[dict[str, Any]], counts: dict[str, int] | None = None, **recipe: Any) -> str:
    """The causes given for a network that always answers the first of three classes."""
    of = card(recipe={**RECIPE, **recipe}, data={**card().data, "counts": counts or {"train": 9000}})
    finding, *_ = diagnose(of, records, answered([0, 1, 2] * 60, [0] * 180))
    assert finding.title == "The network is no better than always predicting 'ant'"
    return "\n".join(finding.advice)


def test_a_network_that_learnt_has_nothing_against_it() -> None:
    assert titles(measured(card(), scored(n=60))) == []  # some 70 % of three classes
    assert titles(measured(tagging(), scored(n=60, several=True))) == []
    assert titles(answered([0] * 90 + [1] * 10, [0] * 90 + [1] * 10)) == []


def test_always_answering_one_class_is_an_error_that_names_what_it_never_predicts() -> None:
    evaluation = answered([0] * 62 + [1] * 30 + [2] * 8, [0] * 100)
    assert titles(evaluation) == [
        ("error", "The network is no better than always predicting 'ant'"),
        ("error", "Classes 'bee' and 'cat' are never predicted"),
    ]
    finding = diagnose(card(), [], evaluation)[0]
    assert "accuracy 62.00" in finding.detail
    assert "always predicting 'ant' gives 62.00" in finding.detail
    assert "it predicts 'ant' for every image" in finding.detail


def test_answers_at_random_are_an_error_whatever_their_luck() -> None:
    labels, rng = np.repeat([0, 1, 2], 40), np.random.default_rng(0)
    found = [titles(answered(labels, rng.permutation(labels))) for _ in range(40)]
    assert sum(one[:1] != [] and one[0][0] == "error" for one in found) >= 37  # luck beats a 95 % interval rarely
    assert all("always predicting 'ant'" in one[0][1] for one in found if one)
    assert titles(answered(labels, np.roll(labels, 40)))[0] == (
        "error",
        "The network is no better than always predicting 'ant'",
    )


def test_a_network_that_favours_rare_classes_is_not_called_worthless() -> None:
    """88 % right where a constant answer gets 90 %, and yet every rare image is found."""
    evaluation = answered([0] * 180 + [1] * 20, [0] * 156 + [1] * 44)
    ((severity, title),) = titles(evaluation)
    assert severity == "warning"
    assert title.endswith("though the predictions depend on the images")
    assert "balanced accuracy (93.33" in diagnose(card(), [RUN], evaluation)[0].advice[0]


def test_images_of_one_class_have_no_constant_answer_to_be_compared_with() -> None:
    assert titles(answered([1] * 30, [1] * 30)) == []


def test_tags_ranked_at_random_or_all_alike_are_no_better_than_chance() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random((60, 3)) < 0.3).astype(int)
    for scores in (np.zeros((60, 3)) + 1, np.random.default_rng(2).normal(size=(60, 3))):
        assert titles(tagged(labels, scores))[0] == ("error", "The network is no better than chance")
    assert titles(tagged(labels, rng.normal(size=(60, 3)) + 3 * (labels - 0.3))) == []
    assert titles(tagged(np.ones((5, 3)), np.ones((5, 3)))) == []  # nothing to tell apart


def test_chance_of_shuffled_tags_is_its_known_mean() -> None:
    """E[AP] = (H + (p - 1) (n - H) / (n - 1)) / n for p of n images, H being the sum of 1 / k to n."""
    n, p, rng = 50, 5, np.random.default_rng(0)
    labels = np.zeros((n, 200), dtype=int)
    labels[:p] = 1
    evaluation = tagged(labels, rng.normal(size=(n, 200)), tuple(f"c{i}" for i in range(200)))
    harmonic = (1 / np.arange(1, n + 1)).sum()
    expected = (harmonic + (p - 1) * (n - harmonic) / (n - 1)) / n
    assert np.mean(list(diagnosis.shuffled_precision(evaluation))) == pytest.approx(expected, rel=0.05)


def test_right_answers_are_counted_against_permutations_of_the_same_answers() -> None:
    labels, rng = np.repeat([0, 1], [40, 20]), np.random.default_rng(0)
    said = labels.copy()
    said[30:50] = rng.integers(0, 2, 20)
    by_lot = np.array([np.sum(rng.permutation(said) == labels) for _ in range(4000)])
    assert (by_lot >= np.sum(said == labels)).mean() < 0.01
    assert diagnosis.depends_on_images(answered(labels, said, BUGS[:2]).confusion)
    assert not diagnosis.depends_on_images(answered(labels, rng.permutation(labels), BUGS[:2]).confusion)


@pytest.mark.parametrize(
    ("left", "severity", "title"),
    [
        (1, "warning", "Class 'c0' is never predicted"),
        (12, "error", "Class 'c0' is never predicted"),
    ],
)
def test_a_class_that_is_never_predicted_is_named_and_weighs_by_its_images(
    left: int, severity: str, title: str
) -> None:
    classes = tuple(f"c{i}" for i in range(4))
    labels = np.repeat([1, 2, 3, 0], [40, 40, 40, left])
    assert titles(answered(labels, np.where(labels == 0, 1, labels), classes)) == [(severity, title)]
    absent = labels[labels != 0]
    assert titles(answered(absent, absent, classes)) == []


def test_of_more_than_three_classes_it_is_said_how_many() -> None:
    classes = tuple(f"c{i}" for i in range(8))
    labels = np.repeat(np.arange(8), 30)
    assert titles(answered(labels, np.minimum(labels, 3), classes)) == [("error", "4 of 8 classes are never predicted")]


def test_a_thousand_classes_of_five_images_leave_some_out_by_chance() -> None:
    """Answers as frequent as the classes and right half of the time never say a few of them, which is no fault."""
    classes, rng = tuple(map(str, range(1000))), np.random.default_rng(0)
    labels = np.repeat(np.arange(1000), 5)
    said = np.where(rng.random(5000) < 0.5, labels, rng.integers(0, 1000, 5000))
    assert 0 < 1000 - len(np.unique(said)) < 10
    assert titles(answered(labels, said, classes)) == []
    few = np.where(said < 960, said, 0)
    (found,) = titles(answered(labels, few, classes))
    assert found[0] == "warning"
    most = np.where(said < 600, said, 0)
    (found,) = titles(answered(labels, most, classes))
    assert found[0] == "error"


def test_of_several_labels_one_that_is_never_said_is_no_error() -> None:
    labels = (np.random.default_rng(0).random((80, 3)) < 0.4).astype(int)
    scores = 4.0 * labels - 2
    scores[:, 1] -= 5
    assert titles(tagged(labels, scores)) == [("warning", "Class 'bee' is never predicted")]
    assert ("error", "Classes 'ant', 'bee' and 'cat' are never predicted") in titles(tagged(labels, scores - 9))


FALLING = [{"epoch": i + 1, "step": 1000 * (i + 1), "train_loss": 1.1 - 0.3 * i, "val_loss": 1.1} for i in range(3)]


@pytest.mark.parametrize(
    ("records", "changes", "said"),
    [
        ([{**RUN, "step": 40}], {}, "40 steps are few: train longer (--epochs"),
        ([{**RUN, "step": 500}], {"average": 0.999}, "contain 60.64\u00a0% of the initial ones after 500 steps"),
        ([RUN, {**RUN, "train_loss": 0.4}], {}, "the training loss did not fall (0.4 in the first epoch"),
        ([{**RUN, "train_loss": 1.098}], {}, "did not fall (1.1 at chance"),
        ([{**RUN, "train_loss": float("nan")}], {}, "became NaN or infinite: try a lower --lr"),
        (FALLING, {}, "the training loss fell from 1.1 to 0.5, and that of val did not (1.1 to 1.1)"),
        ([{**RUN, "train_top1": 0.99}], {}, "99.00\u00a0% of the 9,000 training images are predicted correctly"),
        ([RUN], {"counts": {"train": 30}}, "30 training images of 3 classes are few"),
        ([RUN], {}, "nothing in the record of the training explains it"),
        ([], {}, "(skipway check bugs)"),
    ],
)
def test_the_likely_cause_is_read_off_the_records(records: list[dict], changes: dict, said: str) -> None:
    assert said in advice(records, **changes)


@pytest.mark.parametrize(
    ("records", "changes", "unsaid"),
    [
        ([RUN], {}, "steps"),
        ([RUN], {"average": 0.999}, "initial ones"),  # 0.999 ** 5000 is 0.7 %
        ([{**RUN, "step": 500}], {"average": 0.999, diagnosis.WITH_WARMUP: False}, "initial ones"),
        ([{**RUN, "train_loss": 1.0}, RUN], {}, "did not fall"),
        ([RUN], {"counts": {"train": 30}, "pretrained": "x"}, "are few"),
    ],
)
def test_what_the_records_do_not_show_is_no_cause(records: list[dict], changes: dict, unsaid: str) -> None:
    assert unsaid not in advice(records, **changes)


def test_a_small_split_is_named_where_more_images_might_tell() -> None:
    lucky = answered([0] * 6 + [1] * 6, [0] * 6 + [1] * 2 + [0] * 4, BUGS[:2])  # 8 of 12 right
    assert titles(lucky)[0][1] == "The network is not significantly better than always predicting 'ant'"
    few = "12 images in test are too few for a clear result: evaluate on more"
    assert few in diagnose(card(BUGS[:2]), [RUN], lucky)[0].advice
    constant = answered([0] * 6 + [1] * 6, [0] * 12, BUGS[:2])
    assert "too few for a clear" not in str(diagnose(card(BUGS[:2]), [RUN], constant))


def test_recipes_of_now_say_that_their_average_has_a_warmup() -> None:
    assert diagnosis.WITH_WARMUP in asdict(Recipe("any"))


def test_on_other_images_than_those_of_the_training_these_are_the_cause() -> None:
    evaluation = answered([0, 1, 2] * 60, [0] * 180, trained_on=False)
    assert diagnose(card(), [RUN], evaluation)[0].advice == (
        "it was trained on bugs: these images or their labels may differ",
    )


def test_the_report_begins_with_what_is_wrong_and_a_good_one_has_no_banner(tmp_path: Path) -> None:
    bad = answered([0] * 62 + [1] * 30 + [2] * 8, [0] * 100)
    html = render(made(card(), bad, [RUN]))
    banner = html.index("The network is no better than always predicting &#39;ant&#39;")
    assert html.index("<h1>") < banner < html.index("Top-1 accuracy")
    assert 'class="finding error"' in html
    write_report(tmp_path, made(card(), bad, [RUN]))
    kept = json.loads((tmp_path / "report.json").read_text())["warnings"]
    assert [w["severity"] for w in kept] == ["error", "error"]
    assert kept[0]["advice"]
    good = made(card(), measured(card(), scored()), [RUN])
    assert 'class="finding' not in render(good)
    assert report_json(good)["warnings"] == []


def test_the_banner_is_whole_and_first_at_every_width(browser: Callable[..., Any], tmp_path: Path) -> None:
    evaluation = answered([0] * 62 + [1] * 30 + [2] * 4, [0] * 96)
    file = write_report(tmp_path, made(card(), evaluation, [{**RUN, "step": 12}]))
    for width, scheme in ((1280, "light"), (390, "dark")):
        shown, wrong = look(browser, file, width, scheme)
        box = shown.locator(".finding").first.bounding_box()
        assert box["y"] + box["height"] < 900, "seen without scrolling"
        assert box["x"] >= 0 and box["x"] + box["width"] <= width
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert not wrong
        shown.close()


@pytest.mark.parametrize(
    ("steps", "recipe", "said"),
    [
        (1000, {"average": 0.999}, "still contain 36."),  # 0.999 ** 1000 = 0.3677
        (5000, {"average": 0.999}, ""),  # 0.0067
        (1000, {"average": 0.999, "only_head": 0.0}, ""),  # whose averages warm up
        (1000, {"average": 0.0}, ""),
        (1000, {}, ""),
    ],
)
def test_averaged_weights_are_blamed_where_much_of_the_initial_ones_is_left(
    steps: int, recipe: dict[str, float], said: str
) -> None:
    found = list(diagnosis.from_steps(SimpleNamespace(recipe=recipe), [{"step": steps}]))
    assert len(found) == bool(said)
    assert said in "".join(found)
