"""Confident learning finds planted errors, and the same ones as cleanlab."""

import numpy as np
import pytest

from skipway.embedding.label_errors import find_label_errors
from skipway.embedding.probe import cross_validated
from skipway.errors import DataError


def noisy(seed: int = 0, classes: int = 4, each: int = 150, share: float = 0.1) -> tuple[np.ndarray, ...]:
    """Embeddings around a centre for each class, labels of which a share is wrong, and which are."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(classes), each)
    vectors = 1.4 * rng.standard_normal((classes, 16))[truth] + rng.standard_normal((len(truth), 16))
    wrong = rng.random(len(truth)) < share
    labels = np.where(wrong, (truth + rng.integers(1, classes, len(truth))) % classes, truth)
    return vectors.astype(np.float32), labels, wrong


def test_planted_errors_rank_first() -> None:
    vectors, labels, wrong = noisy()
    found = find_label_errors(cross_validated(vectors, labels, 4), labels)
    assert wrong[found.places[:30]].mean() > 0.9
    assert wrong[found.places].sum() > 0.8 * wrong.sum()
    assert (np.diff(found.margins[found.places]) >= 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_the_errors_are_those_of_cleanlab(seed: int) -> None:
    cleanlab = pytest.importorskip("cleanlab", reason="cleanlab is not installed")
    from cleanlab.filter import find_label_issues

    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(4, 0.7), 300)  # of some the label is likeliest, but another class confident
    labels = np.array([rng.choice(4, p=row) for row in probabilities])
    found = find_label_errors(probabilities, labels)
    expected = find_label_issues(
        labels,
        probabilities,
        filter_by="confident_learning",
        return_indices_ranked_by="normalized_margin",
        n_jobs=1,
    )
    assert found.places.tolist() == expected.tolist()
    joint = cleanlab.count.compute_confident_joint(labels, probabilities, calibrate=False)
    off = ~np.eye(4, dtype=bool)
    assert np.array_equal(found.joint[off], joint[off])


def test_an_image_whose_label_is_likeliest_is_no_error() -> None:
    probabilities = np.array([[0.55, 0.45], [0.95, 0.05], [0.6, 0.4], [0.6, 0.4]])
    # thresholds: mean of 0.55, 0.95 is 0.75; 0.4: the first counts as of class 1, which is less likely than its label
    assert find_label_errors(probabilities, np.array([0, 0, 1, 1])).joint.tolist() == [[1, 1], [0, 2]]
    assert find_label_errors(probabilities, np.array([0, 0, 1, 1])).places.tolist() == []


def test_confident_learning_by_hand() -> None:
    probabilities = np.array([[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.95, 0.05], [0.3, 0.7]])
    labels = np.array([0, 0, 0, 1, 1, 1])
    # thresholds: mean of 0.9, 0.7, 0.2 is 0.6; mean of 0.9, 0.05, 0.7 is 0.55
    found = find_label_errors(probabilities, labels)
    assert found.places.tolist() == [4, 2]
    assert found.suggested.tolist() == [0, 1]
    assert np.allclose(found.margins, [0.8, 0.4, -0.6, 0.8, -0.9, 0.4])
    assert found.joint.tolist() == [[2, 1], [1, 2]]


def test_a_class_without_images_is_never_suggested() -> None:
    probabilities = np.array([[0.1, 0.1, 0.8], [0.2, 0.7, 0.1]])
    assert 2 not in find_label_errors(probabilities, np.array([0, 1])).suggested


def test_no_image_is_judged_by_a_classifier_that_saw_it() -> None:
    """A label that nothing supports cannot be learnt by heart: with 64 random numbers an image, chance is half."""
    rng = np.random.default_rng(0)
    vectors, labels = rng.standard_normal((120, 64)).astype(np.float32), np.repeat([0, 1], 60)
    predicted = cross_validated(vectors, labels, 2).argmax(1)
    assert 0.3 < (predicted == labels).mean() < 0.7


def test_classes_of_a_single_image_are_refused() -> None:
    with pytest.raises(DataError, match="two images"):
        cross_validated(np.eye(4, dtype=np.float32), np.array([0, 0, 0, 1]), 2)
