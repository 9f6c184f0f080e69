"""Whether an answer is given: unsure ones are marked, and images unlike those that the network was trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

from skipway.errors import SkipwayError
from skipway.tasks.classify.out_of_distribution import energy
from skipway.tasks.classify.selective import points_of

ENERGY_KEPT = "energy_kept"  # the key of a split's metrics: the energy that 95 % of its images reach


@dataclass(frozen=True)
class Decision:
    """unsure_below: probability of the likeliest class below which an answer is unsure; energy_below: energy of the
    scores below which an image is unlike the training images (`out_of_distribution.energy`)."""

    unsure_below: float
    energy_below: float

    @classmethod
    def for_error(cls, error: float, metrics: Mapping[str, Mapping[str, Any]]) -> Self:
        """So that at most `error` of the answers that are not unsure are wrong, by the operating points on val in a
        card's `metrics`: those of the largest error that is not above. Raises SkipwayError where there are none."""
        val = metrics.get("val", {})
        points = points_of(val)
        if not points:
            raise SkipwayError(
                "no threshold for unsure answers was found on val when this network was trained: leave out --unsure, "
                "or train with more images in val (--val)"
            )
        reached = [point for point in points if point.error <= error]
        if not reached:
            known = ", ".join(f"{point.error:g}" for point in points)
            raise SkipwayError(f"no threshold on val has an error of at most {error:g}: give --unsure one of {known}")
        return cls(reached[0].threshold, float(val[ENERGY_KEPT]))

    def of(self, probability: float, scores: Tensor) -> tuple[bool, bool]:
        """Whether the answer is unsure, and whether the image is out of distribution. scores: (classes,)."""
        return probability < self.unsure_below, float(energy(scores[None])) < self.energy_below
