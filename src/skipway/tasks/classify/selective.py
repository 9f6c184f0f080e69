"""Answers that are withheld where the network is not confident: error against coverage.

Geifman, El-Yaniv: Selective Classification for Deep Neural Networks. NIPS 2017, arXiv:1705.08500.

An image is answered where the probability of its likeliest class is at least a threshold. Coverage is the share of
images that are answered, the (selective) error the share of wrong answers among them.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

TARGETS = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)  # errors that thresholds are chosen for
DELTA = 0.05  # probability that the error of new images is above the target after all


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold for an error: the error of answers to new images like those that it was chosen on is at most `error`,
    with a probability of 1 - DELTA; coverage: the share of those images that are answered."""

    error: float
    threshold: float
    coverage: float

    def to_json(self) -> dict[str, float]:
        return {"error": self.error, "threshold": self.threshold, "coverage": self.coverage}


@dataclass(frozen=True, eq=False)
class RiskCoverage:
    """The error (n,) of the answers to the most confident images, by coverage (n,), from 1 / n to 1; images of equal
    confidence are answered together, so that both may have fewer than n values."""

    coverage: np.ndarray
    error: np.ndarray

    @property
    def aurc(self) -> float:
        """The area under the curve: the mean error over all coverages (Geifman 2019, arXiv:1805.08206)."""
        widths = np.diff(self.coverage, prepend=0.0)
        return float((widths * self.error).sum())


def risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> RiskCoverage:
    """From the confidence (n,) of each answer and whether it is correct (n,)."""
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum(~correct[order])
    last = np.append(np.diff(confidence[order]) != 0, True)  # of each run of equal confidences
    answered = np.arange(1, len(order) + 1)[last]
    return RiskCoverage(answered / len(order), wrong[last] / answered)


def error_bound(wrong: int, answered: int, delta: float) -> float:
    """The error that `wrong` of `answered` answers exceed with a probability of at most `delta`: the upper bound of
    Clopper and Pearson (lemma 3.1)."""
    from scipy.stats import beta  # slow to import, and prediction does not need it

    return 1.0 if wrong >= answered else float(beta.ppf(1 - delta, wrong + 1, answered - wrong))


def guaranteed_threshold(confidence: np.ndarray, correct: np.ndarray, error: float) -> OperatingPoint | None:
    """The threshold of high coverage whose error on new images is at most `error` with a probability of 1 - DELTA; None
    where there is none, as of few images.

    Algorithm 2 of the paper: a binary search over the images in the order of their confidence, so that DELTA is divided
    by no more than its steps.
    """
    order, n = np.sort(confidence), len(confidence)
    steps = max(1, math.ceil(math.log2(max(n, 1))))
    low, high, found = 0, n - 1, None
    for _ in range(steps):
        if low > high:
            break
        middle = (low + high) // 2
        threshold = order[middle]
        answered = confidence >= threshold
        if error_bound(int((answered & ~correct).sum()), int(answered.sum()), DELTA / steps) <= error:
            found = OperatingPoint(error, float(threshold), float(answered.mean()))
            high = middle - 1
        else:
            low = middle + 1
    return found


def operating_points(confidence: np.ndarray, correct: np.ndarray) -> list[OperatingPoint]:
    """Those of TARGETS that can be reached, the largest error first."""
    found = [guaranteed_threshold(confidence, correct, error) for error in TARGETS]
    return [point for point in found if point is not None]


def points_of(metrics: Any) -> list[OperatingPoint]:
    """The operating points in the metrics of a split in a card; none in cards without any."""
    return [OperatingPoint(**point) for point in metrics.get("operating_points", ())]
