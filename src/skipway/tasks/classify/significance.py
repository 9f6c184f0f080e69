"""McNemar's test, whether one of two networks predicts the same images better.

McNemar: Note on the sampling error of the difference between correlated proportions. Psychometrika 12, 1947. The exact
test is used at every count: the two-sided binomial test with p = 1/2, on the images that only one network predicted
correctly.
Bonett, Price: Adjusted Wald confidence interval for a difference of binomial proportions based on paired data. Journal
of Educational and Behavioral Statistics 37, 2012.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm


@dataclass(frozen=True)
class Paired:
    """How many images both predicted correctly, only the first, only the second, and neither."""

    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def n(self) -> int:
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def difference(self) -> float:
        """The second's accuracy minus the first's, in [-1, 1]."""
        return (self.only_second - self.only_first) / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """The difference's 95 % interval (Bonett and Price 2012: Wald's, with 1 added to each discordant cell)."""
        first, second = (self.only_first + 1) / (self.n + 2), (self.only_second + 1) / (self.n + 2)
        spread = math.sqrt((first + second - (second - first) ** 2) / (self.n + 2))
        half = float(norm.ppf(0.975)) * spread
        return max(-1.0, second - first - half), min(1.0, second - first + half)

    @property
    def p(self) -> float:
        """The probability of discordant counts at least as uneven as these if the two were equally good."""
        discordant = self.only_first + self.only_second
        return float(binomtest(self.only_second, discordant, 0.5).pvalue) if discordant else 1.0


def paired(first: np.ndarray, second: np.ndarray) -> Paired:
    """From whether each image was predicted correctly by each network, both (n,) of bool."""
    counts = ((first & second), (first & ~second), (~first & second), (~first & ~second))
    return Paired(*(int(cell.sum()) for cell in counts))
