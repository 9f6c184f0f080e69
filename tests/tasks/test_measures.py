"""Every figure of an evaluation against scikit-learn, or NumPy where it has none."""

import numpy as np
import pytest
import torch
from judged import judged, scored
from sklearn import metrics as sklearn

from skipway.tasks.classify.metrics import interval, of_classes, of_labels
from skipway.tasks.classify.task import Classify
from skipway.tasks.tag.task import Tag


def close(value: float) -> object:
    return pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("empty", [None, 2])
def test_figures_of_one_class_an_image_are_scikit_learns(empty: int | None) -> None:
    found = judged(classes=("a", "b", "c", "d", "e", "f", "g"), n=300, empty=empty)
    labels, scores, m = found.labels, found.scored.scores.numpy(), found.metrics
    said = scores.argmax(1)
    assert m["top1"] == close(sklearn.accuracy_score(labels, said))
    if empty is None:
        assert m["top5"] == close(sklearn.top_k_accuracy_score(labels, scores, k=5))
        assert m["balanced_accuracy"] == close(sklearn.balanced_accuracy_score(labels, said))
    else:  # scikit-learn warns of a class that is answered and has no image
        assert m["balanced_accuracy"] == close(np.mean([np.mean(said[labels == k] == k) for k in set(labels)]))
    assert m["f1_macro"] == close(sklearn.f1_score(labels, said, average="macro", zero_division=0))
    assert m["loss"] == close(sklearn.log_loss(labels, torch.tensor(scores).double().softmax(1), labels=range(7)))
    assert np.array_equal(found.confusion, sklearn.confusion_matrix(labels, said, labels=range(7)))


def test_the_table_of_classes_is_scikit_learns() -> None:
    found = judged(classes=("a", "b", "c", "d"), n=200)
    said = found.predicted
    theirs = sklearn.precision_recall_fscore_support(found.labels, said, labels=range(4))
    for row, precision, recall, f1, n in zip(found.per_class, *theirs, strict=True):
        assert (row["precision"], row["recall"], row["f1"], row["n"]) == (close(precision), close(recall), close(f1), n)
        assert row["recall_interval"][0] < row["recall"] < row["recall_interval"][1]


def test_figures_of_several_labels_are_scikit_learns() -> None:
    found = judged(classes=tuple("abcde"), n=200, several=True)
    labels, scores, m = found.labels, found.scored.scores.numpy(), found.metrics
    said = scores > 0
    each = [sklearn.average_precision_score(labels[:, k], scores[:, k]) for k in range(5)]
    assert m["map"] == close(np.mean(each))
    assert m["f1_macro"] == close(sklearn.f1_score(labels, said, average="macro"))
    assert m["f1_micro"] == close(sklearn.f1_score(labels, said, average="micro"))
    assert m["exact"] == close(sklearn.accuracy_score(labels, said))
    theirs = sklearn.precision_recall_fscore_support(labels, said)
    for row, ap, precision, recall, f1, n in zip(found.per_class, each, *theirs, strict=True):
        assert (row["ap"], row["precision"], row["recall"]) == (close(ap), close(precision), close(recall))
        assert (row["f1"], row["n"]) == (close(f1), n)
    assert found.confusion is None


def test_a_label_without_images_has_no_average_precision_and_counts_for_nothing() -> None:
    found = judged(classes=tuple("abcde"), n=200, empty=2, several=True)
    assert found.per_class[2]["ap"] is None
    assert found.per_class[2]["recall"] is None
    others = [row["ap"] for row in found.per_class if row["n"]]
    assert found.metrics["map"] == close(np.mean(others))


def test_a_perfect_network_scores_one_in_everything() -> None:
    labels = torch.arange(30) % 3
    perfect = of_classes(Classify(("a", "b", "c")), 10.0 * torch.eye(3)[labels], labels).metrics
    assert {perfect[key] for key in ("top1", "balanced_accuracy", "f1_macro")} == {1.0}
    tags = (torch.arange(90).view(30, 3) % 2).to(torch.uint8)
    task, scores = Tag(("a", "b", "c")), 20.0 * tags - 10
    figures = task.metrics()
    figures.update((scores,), tags)
    perfect = of_labels(task, scores, tags, figures.compute()).metrics
    assert {perfect[key] for key in ("map", "exact", "f1_macro", "f1_micro")} == {1.0}


def test_the_interval_is_wilsons() -> None:
    p, n, z = 0.9, 50, 1.959963984540054
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert interval(45, 50) == (pytest.approx(centre - half), pytest.approx(centre + half))


def test_right_is_every_label_of_an_image() -> None:
    found = judged(n=50, several=True)
    by_hand = [
        (row > 0).tolist() == (truth > 0).tolist() for row, truth in zip(found.predicted, found.labels, strict=True)
    ]
    assert found.correct.tolist() == by_hand
    one = scored(n=50)
    assert judged(n=50).correct.mean() == close(np.mean(one.scores.argmax(1).numpy() == one.images.labels))
