"""Targets of tasks that learn from the images themselves, and data sets of any kind read for such a task."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from skipway.data.dataset import Dataset, Split
from skipway.data.stratified_split import stratified_indices
from skipway.data.targets import ClassTargets
from skipway.errors import DataError

FEWEST = 2  # images that can be learnt from: one is also held out


@dataclass(frozen=True, eq=False)
class GenerationTargets(ClassTargets):
    """What a generator learns besides the pixels, a class per image: `labels` int64 (n,), all 0 without classes."""

    task: ClassVar[str] = "generate"

    def counts(self, classes: int) -> np.ndarray:
        return super().counts(classes) if classes else np.zeros(0, dtype=np.int64)

    def hold_out(self, classes: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
        return stratified_indices(self.labels, max(classes, 1), fraction, rng)

    def relabel(self, to: np.ndarray, classes: int) -> "GenerationTargets":
        return super().relabel(to, classes) if len(to) else self

    def require_learnable(self, name: str, classes: tuple[str, ...]) -> None:
        if len(self) < FEWEST:
            count = f"{len(self)} image{'s' * (len(self) != 1)}"
            raise DataError(f"{name} has {count}: a generator needs at least {FEWEST}, better thousands")


def for_generation(dataset: Dataset) -> Dataset:
    """`dataset` with a class per image where it has that, and otherwise without annotations."""
    labelled = isinstance(dataset.train.targets, ClassTargets)

    def converted(split: Split | None) -> Split | None:
        if split is None:
            return None
        labels = split.labels if labelled else np.zeros(len(split), dtype=np.int64)
        return replace(split, targets=GenerationTargets(labels))

    train = converted(dataset.train)
    assert train is not None
    return replace(
        dataset,
        classes=dataset.classes if labelled else (),
        train=train,
        val=converted(dataset.val),
        test=converted(dataset.test),
        bad_annotations=(),
    )


CONVERSIONS: dict[str, Callable[[Dataset], Dataset]] = {"generate": for_generation}


def with_task(dataset: Dataset, task: str) -> Dataset:
    """`dataset` for the task of that name; "": the one of its annotations. Raises DataError where it cannot be."""
    if task in ("", dataset.task):
        return dataset
    if task not in CONVERSIONS:
        others = " or ".join(CONVERSIONS)
        raise DataError(f"{dataset.name} is annotated for the task {dataset.task}: leave out --task, or give {others}")
    return CONVERSIONS[task](dataset)
