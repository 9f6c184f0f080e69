"""Whether an engine says what eager says, and how far apart they are."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skipway.tasks import Task

# How far a probability may be from eager's, by the precision that the convolutions run in. float32 leaves the order of
# summation, which moves the sixth digit; bfloat16 keeps eight bits of each value: measured as up to
# 0.054 on photographs given to a ResNet-20. int8 has passed a gate of its own (quantise.py) before it comes here.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.01, "int8": 0.1}


@dataclass(frozen=True)
class Agreement:
    """What `compare` found on `images` images.

    largest: the greatest difference of a probability; changed: images whose first class is another although eager's
    first led its second by more than `tolerance`; close: images whose first class is another by less than that.
    """

    images: int
    tolerance: float
    largest: float
    changed: int
    close: int

    @property
    def agrees(self) -> bool:
        return self.largest <= self.tolerance and not self.changed

    def in_words(self) -> str:
        """Such as: differs by 0.0123 at most, 0 of 16 first classes changed."""
        return (
            f"probabilities differ by {self.largest:.2g} at most (allowed {self.tolerance:g}), "
            f"{self.changed + self.close} of {self.images} first classes changed, {self.changed} of them clear ones"
        )


def compare(eager: Tensor, other: Tensor, task: Task, precision: str) -> Agreement:
    """Scores (n, outputs) of the same images by eager and by another engine."""
    tolerance = TOLERANCE[precision]
    ours, theirs = task.probabilities(eager), task.probabilities(other)
    best = ours.topk(min(2, task.outputs)).values
    lead = best[:, 0] - best[:, -1] if task.outputs > 1 else torch.ones(len(best))
    moved = ours.argmax(1) != theirs.argmax(1)
    apart = (ours - theirs).abs()
    return Agreement(
        images=len(eager),
        tolerance=tolerance,
        largest=float(apart.max()) if torch.isfinite(theirs).all() else float("inf"),
        changed=int((moved & (lead > tolerance)).sum()),
        close=int((moved & (lead <= tolerance)).sum()),
    )
