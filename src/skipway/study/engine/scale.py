"""The scales at which a study can be run, and the training recipe of each."""

from dataclasses import dataclass, replace
from typing import Literal

from skipway.training.recipes import HE2015_CIFAR, Recipe

ScaleName = Literal["tiny", "small", "paper"]


@dataclass(frozen=True)
class Scale:
    """How long networks are trained, and on how many images.

    data: default data set, as `open_dataset` takes it; iterations: steps of a full training run, of `batch` images;
    images: maximum number in each split, 0 for all; judged: maximum number of a split on which errors are measured.
    """

    name: ScaleName
    data: str
    iterations: int
    batch: int
    seeds: int
    images: int
    judged: int

    @property
    def cut(self) -> bool:
        """Whether a budget reduced the scale's iterations."""
        return self.iterations < SCALES[self.name].iterations

    def steps(self, share: float = 1.0) -> int:
        """The training steps of `share` of a full run."""
        return max(1, round(self.iterations * share))

    @property
    def label(self) -> str:
        """The name, with the number of iterations if a budget reduced it."""
        return f"{self.name}, reduced to {self.iterations:,} iterations," if self.cut else self.name


SCALES: dict[str, Scale] = {
    scale.name: scale
    for scale in (
        Scale("tiny", "digits", iterations=4, batch=32, seeds=1, images=64, judged=64),
        Scale("small", "cifar10", iterations=4_000, batch=128, seeds=3, images=0, judged=10_000),
        Scale("paper", "cifar10", iterations=64_000, batch=128, seeds=3, images=0, judged=0),
    )
}


def training(scale: Scale, model: str, share: float = 1.0) -> Recipe:
    """The recipe of He 2015 for CIFAR, with `share` of the scale's length; the learning rate drops at 1/2 and 3/4.

    Equal arguments give equal recipes, so studies share training runs.
    """
    batch = min(scale.batch, HE2015_CIFAR.batch)
    return replace(HE2015_CIFAR, model=model, iterations=scale.steps(share), batch=batch)
