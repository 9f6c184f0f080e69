"""Annotations of images: one class, any number of classes, or those of another task with the same methods."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from skipway.data.stratified_split import multilabel_stratified_indices, stratified_indices
from skipway.errors import DataError

Labels = Tensor | tuple[Tensor, ...]  # what is known of an image, or of a batch; a tuple is a NamedTuple


def map_labels(function: Callable[[Tensor], Tensor], labels: Labels) -> Any:
    """`function` of every tensor of `labels`, in the same structure."""
    if isinstance(labels, Tensor):
        return function(labels)
    return type(labels)(*map(function, labels))


class Targets(ABC):
    """The annotations of the images of a split, in order. Targets without classes override only few methods.

    task: the name of the task that learns from such annotations.
    """

    task: ClassVar[str]

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def take(self, indices: np.ndarray) -> Self:
        """The targets at `indices`, in that order."""

    @abstractmethod
    def tensor(self) -> Labels:
        """All targets as tensors whose first dimension is the images."""

    @abstractmethod
    def digest(self) -> bytes:
        """Bytes that differ whenever the annotations differ."""

    def item(self, place: int) -> Labels:
        """The target of one image, as collated into a batch."""
        return map_labels(lambda t: t[place], self.tensor())

    def counts(self, classes: int) -> np.ndarray:
        """Images per class, (classes,)."""
        return np.zeros(classes, dtype=np.int64)

    def classes_of(self, place: int) -> tuple[int, ...]:
        """The indices of an image's classes."""
        return ()

    def members(self, label: int) -> np.ndarray:
        """The indices of the images of a class."""
        return np.empty(0, dtype=np.int64)

    def hold_out(self, classes: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
        """Indices of about `fraction` of the images, in order, for validation."""
        return np.sort(rng.permutation(len(self))[: round(fraction * len(self))])

    def relabel(self, to: np.ndarray, classes: int) -> Self:
        """The targets with class i renumbered to `to[i]`, out of `classes` classes."""
        return self

    def facts(self, classes: tuple[str, ...]) -> dict[str, Any]:
        """What a card says of the annotations besides their number, as plain values."""
        return {}

    def require_learnable(self, name: str, classes: tuple[str, ...]) -> None:
        """Raises DataError, naming the data set `name`, if there is nothing to learn."""
        if not len(self):
            raise DataError(f"{name} has no annotations: check the folder, or name another")


@dataclass(frozen=True, eq=False)
class ClassTargets(Targets):
    """One class per image: `labels` int64 (n,)."""

    task: ClassVar[str] = "classify"
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> Self:
        return replace(self, labels=self.labels[indices])

    def tensor(self) -> Tensor:
        return torch.from_numpy(self.labels)

    def item(self, place: int) -> Tensor:
        return torch.as_tensor(self.labels[place])

    def digest(self) -> bytes:
        return self.labels.astype("<i8").tobytes()

    def counts(self, classes: int) -> np.ndarray:
        return np.bincount(self.labels, minlength=classes)

    def classes_of(self, place: int) -> tuple[int, ...]:
        return (int(self.labels[place]),)

    def members(self, label: int) -> np.ndarray:
        return np.flatnonzero(self.labels == label)

    def hold_out(self, classes: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
        """Indices of `fraction` of each class. A class keeps at least one image."""
        return stratified_indices(self.labels, classes, fraction, rng)

    def relabel(self, to: np.ndarray, classes: int) -> Self:
        return replace(self, labels=to[self.labels])

    def require_learnable(self, name: str, classes: tuple[str, ...]) -> None:
        present = np.unique(self.labels)
        if len(present) < 2:
            only = classes[int(present[0])]
            raise DataError(f"{name} has only one class ('{only}'): a classifier needs at least two class folders")


@dataclass(frozen=True, eq=False)
class MultiLabelTargets(Targets):
    """Any number of classes per image: `labels` uint8 (n, classes) of 0 and 1."""

    task: ClassVar[str] = "tag"
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: np.ndarray) -> "MultiLabelTargets":
        return MultiLabelTargets(self.labels[indices])

    def tensor(self) -> Tensor:
        return torch.from_numpy(self.labels)

    def item(self, place: int) -> Tensor:
        return torch.as_tensor(self.labels[place])

    def digest(self) -> bytes:
        # must differ from the same numbers as single-label data
        return self.labels.astype("<i8").tobytes() + b"labels in columns"

    def counts(self, classes: int) -> np.ndarray:
        """Images per class; an image with several classes counts for each."""
        return self.labels.sum(0, dtype=np.int64)

    def classes_of(self, place: int) -> tuple[int, ...]:
        return tuple(np.flatnonzero(self.labels[place]).tolist())

    def members(self, label: int) -> np.ndarray:
        return np.flatnonzero(self.labels[:, label])

    def hold_out(self, classes: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
        """Indices of about `fraction` of the images of each class and of those without a class."""
        return multilabel_stratified_indices(self.labels, classes, fraction, rng)

    def relabel(self, to: np.ndarray, classes: int) -> "MultiLabelTargets":
        labels = np.zeros((len(self), classes), dtype=self.labels.dtype)
        labels[:, to] = self.labels
        return MultiLabelTargets(labels)

    def require_learnable(self, name: str, classes: tuple[str, ...]) -> None:
        counts = self.counts(len(classes))
        if not ((counts > 0) & (counts < len(self))).any():
            raise DataError(f"{name} has no class that some training images have and others lack: add some")


def as_targets(labels: np.ndarray | Targets) -> Targets:
    """Targets unchanged; an array (n,) as one class per image, (n, classes) as any number per image."""
    if isinstance(labels, Targets):
        return labels
    return MultiLabelTargets(labels) if labels.ndim == 2 else ClassTargets(labels)
