"""The images to label next are uncertain ones, and far from each other and from those that have labels."""

import numpy as np

from skipway.embedding.selection import k_center, margins, select


def test_margins_are_differences_of_the_two_largest_probabilities() -> None:
    scores = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]))
    assert np.allclose(margins(scores), [0.2, 0.7])
    assert np.allclose(margins(scores + 1000), [0.2, 0.7])


def test_k_center_is_the_greedy_choice_written_out() -> None:
    vectors = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    chosen = k_center(vectors, 10)
    for step in range(1, 10):
        nearest = (1 - unit @ unit[chosen[:step]].T).min(1)
        nearest[chosen[:step]] = -1
        assert nearest.argmax() == chosen[step]
    assert len(set(chosen.tolist())) == 10


def test_every_cluster_is_covered_and_covered_ones_are_left_for_last() -> None:
    centres = np.eye(6, dtype=np.float32)
    vectors = np.repeat(centres, 20, axis=0) + 0.01 * np.random.default_rng(0).random((120, 6), dtype=np.float32)
    assert sorted(k_center(vectors, 6) // 20) == list(range(6))
    assert sorted(k_center(vectors, 4, covered=centres[:2]) // 20) == [2, 3, 4, 5]


def test_all_are_chosen_once_where_more_are_asked_for() -> None:
    vectors = np.random.default_rng(0).random((5, 3), dtype=np.float32)
    assert sorted(k_center(vectors, 9)) == list(range(5))


def test_different_ones_are_chosen_among_the_least_certain() -> None:
    rng = np.random.default_rng(0)
    vectors, scores = rng.standard_normal((500, 8)).astype(np.float32), rng.standard_normal((500, 3))
    chosen = select(vectors, scores, 5)
    uncertain = set(np.argsort(margins(scores))[:50].tolist())
    assert set(chosen.tolist()) <= uncertain
    assert chosen.tolist() != np.argsort(margins(scores))[:5].tolist()
