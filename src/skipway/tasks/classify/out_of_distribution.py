"""Scores that tell images unlike those trained on from the others, by class scores alone; nothing is trained for them.

Liu, Wang, Owens, Li: Energy-based Out-of-distribution Detection. NeurIPS 2020, arXiv:2010.03759.
Hendrycks et al.: Scaling Out-of-Distribution Detection for Real-World Settings. ICML 2022, arXiv:1911.11132 (maximum
logit).
Hendrycks, Gimpel: A Baseline for Detecting Misclassified and Out-of-Distribution Examples in Neural Networks. ICLR
2017, arXiv:1610.02136 (maximum probability, and AUROC as the measure).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

KEPT = 0.95  # of the near images that a threshold keeps, by custom


def energy(scores: Tensor) -> Tensor:
    """Class scores (n, classes) -> (n,), the negative free energy: log of the sum of their exponentials (eq. 4)."""
    return torch.logsumexp(scores.double(), 1)


def maximum_logit(scores: Tensor) -> Tensor:
    """Class scores (n, classes) -> (n,), the highest."""
    return scores.double().amax(1)


def maximum_probability(scores: Tensor) -> Tensor:
    """Class scores (n, classes) -> (n,), the probability of the likeliest class."""
    return scores.double().softmax(1).amax(1)


OOD_SCORES: dict[str, Callable[[Tensor], Tensor]] = {  # high for images like those trained on
    "energy": energy,
    "maximum logit": maximum_logit,
    "maximum probability": maximum_probability,
}


@dataclass(frozen=True)
class Separation:
    """How well a score tells n far images from the near ones.

    auroc: the probability that a near image scores higher than a far one, ties counted as half; 0.5 is chance.
    kept_far: the share of far images above the threshold that keeps KEPT of the near ones (FPR95).
    """

    score: str
    auroc: float
    kept_far: float
    n: int


def auroc(near: np.ndarray, far: np.ndarray) -> float:
    """The area under the ROC curve, of near images (n,) against far ones (m,): the Mann-Whitney statistic."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([near, far]))[: len(near)]
    return float((ranks.sum() - len(near) * (len(near) + 1) / 2) / (len(near) * len(far)))


def separation(near: Tensor, far: Tensor) -> list[Separation]:
    """Each of OOD_SCORES, from the class scores of near images (n, classes) and far ones (m, classes)."""
    found = []
    for name, score in OOD_SCORES.items():
        high, low = score(near).numpy(), score(far).numpy()
        threshold = np.quantile(high, 1 - KEPT)
        found.append(Separation(name, auroc(high, low), float((low >= threshold).mean()), len(low)))
    return found
