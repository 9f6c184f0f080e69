"""What to label next: images that the network is least certain of, and that cover what is not covered yet.

Scheffer, Decomain, Wrobel: Active Hidden Markov Models for Information Extraction. IDA 2001 (margin sampling).
Sener, Savarese: Active Learning for Convolutional Neural Networks: A Core-Set Approach. ICLR 2018, arXiv:1708.00489
(k-center greedy, algorithm 1).
Citovsky et al.: Batch Active Learning at Scale. NeurIPS 2021, arXiv:2107.14263 (the most uncertain ones first, then
different ones among them; k_m = 10 times as many).
"""

import numpy as np

from skipway.embedding.neighbours import NeighbourIndex, unit

CANDIDATES = 10  # times the images that are selected: of the least certain, before different ones are chosen


def margins(scores: np.ndarray) -> np.ndarray:
    """(n,): the probability of the likeliest class minus that of the second, from scores (n, classes)."""
    shifted = np.exp(scores.astype(np.float64) - scores.max(1, keepdims=True))
    second, first = np.partition(shifted / shifted.sum(1, keepdims=True), -2, axis=1)[:, -2:].T
    return first - second


def k_center(vectors: np.ndarray, count: int, covered: np.ndarray | None = None) -> np.ndarray:
    """`count` places of `vectors`, float32 (n, D), each the farthest from all chosen before and from those `covered`
    already, (m, D), by angle; all places where there are no more.

    Without any covered, the first is the farthest from the mean.
    """
    vectors = unit(vectors)
    if covered is None:
        distance = 1 - vectors @ unit(vectors.mean(0, keepdims=True))[0]
    else:
        distance = 1 - NeighbourIndex(covered).search(vectors, 1).similarities[:, 0]
    chosen: list[int] = []
    for step in range(min(count, len(vectors))):
        place = int(distance.argmax())
        chosen.append(place)
        near = 1 - vectors @ vectors[place]
        distance = near if covered is None and step == 0 else np.minimum(distance, near)
        distance[chosen] = -np.inf
    return np.array(chosen, dtype=np.int64)


def select(vectors: np.ndarray, scores: np.ndarray | None, count: int, covered: np.ndarray | None = None) -> np.ndarray:
    """`count` places worth a label, in the order of their choice: k-center among the CANDIDATES * count images of the
    smallest margin; among all where `scores` is None."""
    if scores is None:
        return k_center(vectors, count, covered)
    candidates = np.argsort(margins(scores), kind="stable")[: CANDIDATES * count]
    return candidates[k_center(vectors[candidates], count, covered)]
