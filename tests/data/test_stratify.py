"""Images held back for validation: shares of every class on both sides, and none lost to it."""

import numpy as np
import pytest

from skipway.data.stratified_split import multilabel_stratified_indices, stratified_indices


def correlated(count: int, seed: int = 0) -> np.ndarray:
    """uint8 (count, 12): frequent and rare tags, some of which mostly come together, and images without any."""
    rng = np.random.default_rng(seed)
    shares = np.array([0.5, 0.4, 0.3, 0.2, 0.1, 0.08, 0.05, 0.04, 0.03, 0.02, 0.01, 0.01])
    labels = rng.random((count, 12)) < shares
    labels[:, 8] |= labels[:, 7] & (rng.random(count) < 0.8)
    labels[rng.random(count) < 0.15] = False
    return labels.astype(np.uint8)


def held(labels: np.ndarray, fraction: float, seed: int = 0) -> np.ndarray:
    return multilabel_stratified_indices(labels, labels.shape[1], fraction, np.random.default_rng(seed))


@pytest.mark.parametrize("fraction", [0.1, 0.25])
def test_every_tag_and_the_images_without_one_keep_their_share(fraction: float) -> None:
    labels = correlated(2000)
    val = held(labels, fraction)
    assert len(val) == pytest.approx(fraction * 2000, abs=3)
    np.testing.assert_allclose(labels[val].sum(0), fraction * labels.sum(0), atol=3)
    bare = labels.sum(1) == 0
    assert bare[val].sum() == pytest.approx(fraction * bare.sum(), abs=6)


def test_tags_are_spread_better_than_by_lot() -> None:
    """The claim of the paper (sec. 4), on rare tags, over ten cuts of each kind."""
    labels, fraction = correlated(600), 0.1

    def off(val: np.ndarray) -> float:
        return float(np.abs(labels[val].mean(0) - labels.mean(0)).mean())

    dealt = [off(held(labels, fraction, seed)) for seed in range(10)]
    drawn = [off(np.random.default_rng(seed).permutation(600)[:60]) for seed in range(10)]
    assert np.mean(dealt) < 0.4 * np.mean(drawn)
    assert max(dealt) < min(drawn)


def test_the_cut_follows_the_seed_and_no_image_is_held_twice() -> None:
    labels = correlated(300)
    assert np.array_equal(held(labels, 0.2, 1), held(labels, 0.2, 1))
    assert not np.array_equal(held(labels, 0.2, 1), held(labels, 0.2, 2))
    assert len(np.unique(held(labels, 0.2))) == len(held(labels, 0.2))


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_every_tag_keeps_a_training_image(fraction: float) -> None:
    for seed in range(20):
        labels = correlated(30, seed)
        kept = np.delete(labels, held(labels, fraction, seed), axis=0)
        assert (kept.sum(0) > 0).tolist() == (labels.sum(0) > 0).tolist()


def test_one_class_an_image_is_cut_as_exactly_as_a_column_each() -> None:
    classes = np.random.default_rng(0).integers(0, 3, 200)
    columns = np.eye(3, dtype=np.uint8)[classes]
    one = stratified_indices(classes, 3, 0.1, np.random.default_rng(0))
    np.testing.assert_allclose(columns[one].sum(0), columns[held(columns, 0.1)].sum(0), atol=1)
