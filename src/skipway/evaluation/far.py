"""Images of other kinds than those trained on: how well a network's own scores tell them apart."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from skipway.data.dataset import Dataset
from skipway.errors import SkipwayError
from skipway.evaluation.evaluate import Scorer
from skipway.reporting.numbers import percent
from skipway.tasks import Task
from skipway.tasks.base import SplitOutputs
from skipway.tasks.classify.out_of_distribution import Separation, separation


@dataclass(frozen=True)
class FarResult:
    """One set of far images: its name, how many there are, and each score's separation of them from the near ones."""

    data: str
    n: int
    separations: tuple[Separation, ...]

    def summary(self) -> str:
        """In one line for the console: the AUROC of each score, and the far images that the first one lets through."""
        first = self.separations[0]
        figures = ", ".join(f"{100 * one.auroc:.2f} % by {one.score}" for one in self.separations)
        kept = f"{percent(first.kept_far)} pass the {first.score} that 95 % of the near images pass"
        return f"far {self.data}, {self.n:,} images: AUROC {figures}; {kept}"

    def to_json(self) -> dict[str, Any]:
        return {"data": self.data, "n": self.n, "scores": [asdict(one) for one in self.separations]}


def require_scores(task: Task) -> None:
    """Raises SkipwayError for a network that does not give each image one of its classes."""
    if task.activation != "softmax":
        raise SkipwayError(f"--far is for networks of one class an image, and not for {task.annotation}: leave it out")


def measure_far(task: Task, scorer: Scorer, near: SplitOutputs, far: Sequence[Dataset]) -> tuple[FarResult, ...]:
    """Each of `far`, all its splits together, against the images `near`. Raises SkipwayError as `require_scores`, and
    DataError for an image that cannot be read."""
    if far:
        require_scores(task)
    found = []
    for dataset in far:
        scores = torch.cat([scorer(split)[0] for split in dataset.splits.values()])
        found.append(FarResult(dataset.name, len(scores), tuple(separation(near.scores, scores))))
    return tuple(found)
