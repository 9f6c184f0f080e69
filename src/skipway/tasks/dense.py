"""What tasks share whose answers have a place in the image, on networks that are built on a classifier."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from skipway import models
from skipway.data.box_targets import BoxTargets
from skipway.data.dataset import Dataset
from skipway.data.mask_targets import MaskTargets
from skipway.models.base import Network
from skipway.tasks.base import Task

MOST_ASPECT = 2.0  # of the input's sides


class DenseTask(Task):
    """multiple: in pixels, of which the sides of the network's input are multiples; smallest, on_gpu, on_cpu: the least
    and the greatest default of its longer side."""

    pools: ClassVar[bool] = False
    in_memory: ClassVar[bool] = False
    multiple: ClassVar[int]
    smallest: ClassVar[int]
    on_gpu: ClassVar[int]
    on_cpu: ClassVar[int]

    def body_of(self, name: str) -> str:
        return models.BODY_OF[name]

    def network_options(self, name: str) -> set[str]:
        return {"classes", "channels"}

    def build(self, network: Mapping[str, Any]) -> Network:
        return models.create_dense(**network)

    def size_for(self, dataset: Dataset, gpu: bool) -> int:
        """The median longer side of the training images, between `smallest` and `on_gpu` or `on_cpu` pixels."""
        longer = self.rounded(float(np.median(sizes_in(dataset).max(1))))
        return max(min(longer, self.on_gpu if gpu else self.on_cpu), self.smallest)

    def canvas(self, dataset: Dataset, size: int) -> tuple[int, int]:
        """`size` for the longer side, multiples of `multiple` for both: the median shape of the training images."""
        heights, widths = sizes_in(dataset).T
        aspect = float(np.clip(np.median(widths / heights), 1 / MOST_ASPECT, MOST_ASPECT))
        height, width = (size / aspect, size) if aspect >= 1 else (size, size * aspect)
        return self.rounded(height), self.rounded(width)

    def rounded(self, side: float) -> int:
        """The nearest multiple of `multiple`, at least one."""
        return max(round(side / self.multiple), 1) * self.multiple


def sizes_in(dataset: Dataset) -> np.ndarray:
    """int64 (n, 2), height and width of the training images."""
    targets = dataset.train.targets
    assert isinstance(targets, BoxTargets | MaskTargets)
    return targets.sizes
