"""Nearest neighbours of embeddings by cosine similarity: search, near duplicates and outliers.

The index is scikit-learn's exact search: among 100,000 embeddings of 512 numbers it answers in some hundredths of a
second, in parts that keep memory bounded. An approximate index of another library would have to be built, tuned and
kept.
"""

from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from skipway.errors import DataError, SkipwayError

NEAREST = 20  # neighbours of an image that near duplicates and outliers are judged by
DUPLICATE = 0.9  # least cosine similarity of near duplicates
RATIO = 0.6  # of their distance to that of the farthest of the NEAREST, at most


class Found(NamedTuple):
    """The neighbours of n queries, nearest first: places int64 (n, k) in the index, similarities float32 (n, k)."""

    places: np.ndarray
    similarities: np.ndarray


def unit(vectors: np.ndarray) -> np.ndarray:
    """float32 (n, D) with rows of length 1; rows of zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)


class NeighbourIndex:
    """Exact search among `vectors`, float32 (n, D), by cosine similarity: of unit vectors 1 - d^2 / 2, with d their
    Euclidean distance. Raises DataError where there are none."""

    def __init__(self, vectors: np.ndarray) -> None:
        from sklearn.neighbors import NearestNeighbors  # slow to import

        if not len(vectors):
            raise DataError("there is no embedding to search: give images that can be read")
        self.unit = unit(vectors)
        self.nearest = NearestNeighbors(algorithm="brute", metric="euclidean").fit(self.unit)

    def search(self, queries: np.ndarray, top: int) -> Found:
        """The `top` nearest of each query, float32 (m, D); fewer where the index holds fewer.

        Raises SkipwayError for queries of another length, as from another network.
        """
        if queries.shape[1] != self.unit.shape[1]:
            raise SkipwayError(
                f"the query has {queries.shape[1]} numbers and the index {self.unit.shape[1]}: embed both with the "
                "same network"
            )
        distances, places = self.nearest.kneighbors(unit(queries), min(top, len(self.unit)))
        return Found(places, (1 - distances**2 / 2).astype(np.float32))

    def others(self, top: int) -> Found:
        """The `top` nearest of each embedding of the index, itself left out."""
        top = min(top, len(self.unit) - 1)
        if not top:
            return Found(np.empty((1, 0), np.int64), np.empty((1, 0), np.float32))
        distances, places = self.nearest.kneighbors(n_neighbors=top)
        return Found(places, (1 - distances**2 / 2).astype(np.float32))


def near_duplicates(neighbours: Found, similarity: float = DUPLICATE) -> list[np.ndarray]:
    """Groups of places, each in order, that are connected by near duplicates among `neighbours`, those of
    `NeighbourIndex.others`. The group with the most similar pair first.

    Near duplicates have at least this `similarity`, and a distance of at most RATIO times that of the farthest
    neighbour (as Lowe 2004 compares distances, Distinctive Image Features from Scale-Invariant Keypoints, sec. 7.1): a
    classifier gives all images of a class similar embeddings, and a similarity alone would join whole classes.
    """
    count = len(neighbours.places)
    distances = np.sqrt(np.maximum(2 - 2 * neighbours.similarities, 0))
    close = (neighbours.similarities >= similarity) & (distances <= RATIO * distances[:, -1:])
    rows, columns = np.nonzero(close)
    ends = neighbours.places[rows, columns]
    graph = coo_array((np.ones(len(rows), np.int8), (rows, ends)), shape=(count, count))
    member = connected_components(graph, directed=False)[1]
    best = np.full(member.max(initial=-1) + 1, -np.inf)
    np.maximum.at(best, member[rows], neighbours.similarities[rows, columns])
    order = np.argsort(member, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(member[order])) + 1)
    found = [group for group in groups if len(group) > 1]
    return sorted(found, key=lambda group: -best[member[group[0]]])


def outlier_scores(neighbours: Found) -> np.ndarray:
    """(n,): one minus the mean similarity to the nearest neighbours; high where an image is unlike all others.

    The mean distance to the k nearest (Angiulli and Pizzuti 2002, Fast Outlier Detection in High Dimensional Spaces).
    """
    if not neighbours.similarities.shape[1]:
        return np.zeros(len(neighbours.similarities), np.float32)
    return 1 - neighbours.similarities.mean(1)
