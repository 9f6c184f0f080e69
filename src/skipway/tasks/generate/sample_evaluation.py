"""What an evaluation of generated images needs besides the images of a split."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from skipway.data.preprocess import Preprocessing
from skipway.errors import refuse_if
from skipway.models.base import Network
from skipway.tasks.generate.classifier_features import ClassifierFeatures

SAMPLES = {"cpu": 1_000, "cuda": 10_000}  # images that are generated at most, by device
FEWEST = 10  # samples of which a distance is measured


def say_nothing(line: str) -> None:
    pass


class TrainedGenerator(NamedTuple):
    """A network in evaluation mode on `device`, and its preprocessing."""

    net: Network
    preprocessing: Preprocessing
    device: torch.device


@dataclass(frozen=True)
class SampleEvaluation:
    """classifier: in whose features distances are measured and which tells the classes of samples; None: the one in the
    package, for distances alone. samples: how many are generated, 0: as many as there are images, at most SAMPLES.
    inception: a file of Inception's weights, for FID and KID. likelihood: images of the split whose bits per dimension
    are measured. say: is told what that will cost. Raises SkipwayError for too few samples."""

    classifier: ClassifierFeatures | None = None
    samples: int = 0
    inception: Path | None = None
    likelihood: int = 0
    say: Callable[[str], None] = say_nothing

    def __post_init__(self) -> None:
        few = 0 < self.samples < FEWEST or self.samples < 0
        refuse_if(few, f"--samples {self.samples} are too few to measure", f"give at least {FEWEST}")
        refuse_if(self.likelihood < 0, f"--likelihood {self.likelihood}", "give a number of images, 0 for none")

    def count(self, images: int, device: torch.device) -> int:
        """Samples to generate beside `images` images on `device`."""
        return min(images, self.samples or SAMPLES.get(device.type, SAMPLES["cpu"]))


DEFAULT_EVALUATION = SampleEvaluation()
