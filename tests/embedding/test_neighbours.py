"""Neighbours are those of NumPy's matrix product, and answers come soon."""

import time

import numpy as np
import pytest

from skipway.embedding.neighbours import Found, NeighbourIndex, near_duplicates, outlier_scores, unit
from skipway.errors import DataError, SkipwayError


def vectors(count: int, dimension: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, dimension), dtype=np.float32)


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    one, other = one.astype(np.float64), other.astype(np.float64)
    return one @ other.T / np.linalg.norm(one, axis=1)[:, None] / np.linalg.norm(other, axis=1)


def test_the_nearest_are_those_of_the_matrix_of_cosines() -> None:
    held, asked = vectors(300), vectors(7, seed=1)
    found = NeighbourIndex(held).search(asked, 5)
    expected = cosines(asked, held)
    assert np.array_equal(found.places, np.argsort(-expected, axis=1)[:, :5])
    assert np.allclose(found.similarities, np.take_along_axis(expected, found.places, 1), atol=1e-6)


def test_no_embedding_is_its_own_neighbour_even_where_another_is_equal() -> None:
    held = vectors(20)
    held[7] = held[3]
    found = NeighbourIndex(held).others(4)
    assert not (found.places == np.arange(20)[:, None]).any()
    assert found.places[3, 0] == 7
    assert found.places[7, 0] == 3


def test_fewer_are_found_where_the_index_holds_fewer() -> None:
    assert NeighbourIndex(vectors(3)).search(vectors(1), 10).places.shape == (1, 3)
    assert NeighbourIndex(vectors(3)).others(10).places.shape == (3, 2)
    assert NeighbourIndex(vectors(1)).others(10).places.shape == (1, 0)


def test_queries_of_another_network_and_empty_indices_are_refused() -> None:
    with pytest.raises(SkipwayError, match="same network"):
        NeighbourIndex(vectors(3)).search(vectors(1, 31), 1)
    with pytest.raises(DataError, match="no embedding"):
        NeighbourIndex(vectors(0))


def test_a_query_among_10_000_embeddings_takes_less_than_50_ms() -> None:
    index, query = NeighbourIndex(vectors(10_000, 512)), vectors(1, 512, seed=1)
    index.search(query, 10)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        index.search(query, 10)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05


def test_copies_are_grouped_the_most_similar_first() -> None:
    rng = np.random.default_rng(0)
    held = rng.standard_normal((40, 64)).astype(np.float32)
    held[5] = held[1] + 0.1 * rng.standard_normal(64)
    held[9] = held[5] + 0.1 * rng.standard_normal(64)
    held[30] = 3 * held[2]
    groups = near_duplicates(NeighbourIndex(held).others(10), 0.95)
    assert [group.tolist() for group in groups] == [[2, 30], [1, 5, 9]]


def test_a_class_of_similar_images_is_no_group_of_duplicates_but_copies_in_it_are() -> None:
    """As a classifier embeds: cosines of 0.98 within the class, whichever two images."""
    rng = np.random.default_rng(0)
    held = np.ones(64, np.float32) + 0.14 * rng.standard_normal((60, 64)).astype(np.float32)
    held[40] = held[11] + 0.01 * rng.standard_normal(64)
    assert [group.tolist() for group in near_duplicates(NeighbourIndex(held).others(20))] == [[11, 40]]


def test_no_duplicates_are_no_groups() -> None:
    assert near_duplicates(NeighbourIndex(np.eye(5, dtype=np.float32)).others(3)) == []
    assert near_duplicates(NeighbourIndex(vectors(1)).others(3)) == []


def test_the_image_unlike_all_others_has_the_highest_outlier_score() -> None:
    held = 1 + 0.1 * vectors(50)
    held[13] = -held[13]
    scores = outlier_scores(NeighbourIndex(held).others(10))
    assert scores.argmax() == 13
    assert np.isclose(scores[13], 1 - np.sort(cosines(held[13:14], np.delete(held, 13, 0))[0])[-10:].mean(), atol=1e-5)


def test_rows_of_zeros_stay_zeros() -> None:
    assert np.array_equal(unit(np.zeros((2, 3), np.float32)), np.zeros((2, 3)))


def test_outliers_of_a_single_image_are_none() -> None:
    empty = Found(np.empty((1, 0), np.int64), np.empty((1, 0), np.float32))
    assert outlier_scores(empty).tolist() == [0]
