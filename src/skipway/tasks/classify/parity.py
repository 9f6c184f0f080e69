"""Parity of an engine with eager: how far apart their class probabilities are."""

from dataclasses import dataclass

import torch
from torch import Tensor

from skipway.tasks.classify.protocol import ScoresTask

# How far a probability may be from eager's, by the precision that the convolutions run in. In float32 only the order of
# summation differs, which changes the sixth digit; bfloat16 has eight bits of each value: up to 0.054 was measured on
# photographs with a ResNet-20. int8 has passed its own gate (quantize.py) before it comes here.
TOLERANCE = {"float32": 1e-3, "bfloat16": 0.1, "float16": 0.01, "int8": 0.1}


@dataclass(frozen=True)
class ParityResult:
    """The result of `check_parity` on `images` images.

    largest: the greatest difference of a probability; changed: images whose top class differs although
    eager's probabilities of the top two differ by more than `tolerance`; close: those where they differ by less.
    """

    images: int
    tolerance: float
    largest: float
    changed: int
    close: int

    @property
    def agrees(self) -> bool:
        return self.largest <= self.tolerance and not self.changed

    def summary(self) -> str:
        """For example: probabilities differ by 0.0123 at most, 0 of 16 top classes changed."""
        return (
            f"probabilities differ by {self.largest:.2g} at most (allowed {self.tolerance:g}), "
            f"{self.changed + self.close} of {self.images} top classes changed, {self.changed} of them clearly"
        )


def check_parity(eager: Tensor, other: Tensor, task: ScoresTask, precision: str) -> ParityResult:
    """Scores (n, outputs) of the same images by eager and by another engine."""
    tolerance = TOLERANCE[precision]
    ours, theirs = task.class_probabilities(eager), task.class_probabilities(other)
    best = ours.topk(min(2, task.outputs)).values
    lead = best[:, 0] - best[:, -1] if task.outputs > 1 else torch.ones(len(best))
    moved = ours.argmax(1) != theirs.argmax(1)
    apart = (ours - theirs).abs()
    return ParityResult(
        images=len(eager),
        tolerance=tolerance,
        largest=float(apart.max()) if torch.isfinite(theirs).all() else float("inf"),
        changed=int((moved & (lead > tolerance)).sum()),
        close=int((moved & (lead <= tolerance)).sum()),
    )
