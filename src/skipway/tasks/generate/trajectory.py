"""What is seen on the way from noise to image."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from skipway.tasks.generate.flow import Velocity


@dataclass(frozen=True, eq=False)
class Frame:
    """Images (n, C, H, W) at `time` on their way from noise, and the denoised images."""

    time: float
    images: Tensor
    denoised: Tensor


class Watched:
    """A velocity that keeps x at the start of the chosen steps, and the denoised image, while `integrate` uses it."""

    def __init__(self, velocity: Velocity, chosen: Sequence[int]) -> None:
        self.velocity, self.chosen, self.step = velocity, chosen, 0
        self.seen: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        v = self.velocity(x, t)
        if self.step in self.chosen and self.step not in self.seen:  # a step's first evaluation is at its start
            self.seen[self.step] = (x, x - float(t[0]) * v)
        return v

    def after_step(self, step: int, x: Tensor) -> None:
        self.step = step + 1
        if self.step == self.chosen[-1]:
            self.seen[self.step] = (x, x)
