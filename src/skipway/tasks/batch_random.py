"""Random numbers for the images of a batch, equal however the batch is divided."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class BatchRandom:
    """Random numbers that follow from a seed and an image's place in its batch alone.

    Each call draws for the whole batch and keeps the rows of the images at hand, so that several processes, or the
    parts of a batch that are computed one after the other, together draw what one process would draw at once.

    count: images in the whole batch; places: of the images at hand in it.
    """

    seed: int
    count: int
    places: slice
    device: torch.device
    DRAWS: ClassVar[int] = 1000  # different draws of a seed

    def generator(self, draw: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed((self.seed * self.DRAWS + draw) % (1 << 62))

    def normal(self, draw: int, *shape: int) -> Tensor:
        """Standard normal numbers (images at hand, *shape). `draw` tells the draws of one batch apart."""
        numbers = torch.randn(self.count, *shape, generator=self.generator(draw), device=self.device)
        return numbers[self.places]

    def uniform(self, draw: int, *shape: int) -> Tensor:
        """Numbers from [0, 1), otherwise as `normal`."""
        numbers = torch.rand(self.count, *shape, generator=self.generator(draw), device=self.device)
        return numbers[self.places]

    def part(self, start: int, end: int) -> "BatchRandom":
        """For the images from `start` to `end` of those at hand."""
        at_hand = range(self.count)[self.places][start:end]
        return BatchRandom(self.seed, self.count, slice(at_hand.start, at_hand.stop, at_hand.step), self.device)
