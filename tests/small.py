"""What the tests of runs share: a small set, a short recipe, and how to stop a run anywhere."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from skipway import bundle, hardware
from skipway.data import open_dataset
from skipway.data.dataset import Dataset
from skipway.training import loop
from skipway.training.recipes import QUICK
from skipway.training.run_manifest import RunOptions

QUIET = Console(quiet=True)
CPU = hardware.decide(device="cpu", workers=0)
SHORT = replace(QUICK, epochs=3, batch=24)  # 11 steps an epoch
EVERY_2 = RunOptions(checkpoint_steps=2)


def few_digits(count: int = 300) -> Dataset:
    """`count` digits, of which a tenth become val, and at least one of each class."""
    dataset = open_dataset("digits")
    return replace(dataset, train=dataset.train.take(np.arange(count)), test=None)


def weights(run: Path) -> dict[str, Tensor]:
    return bundle.read_weights(run)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def losses(run: Path) -> list[float]:
    return [json.loads(line)["train_loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def before_step(patch: pytest.MonkeyPatch, number: int, happens: Callable[[], None]) -> None:
    """Have something happen when the step with this number (from 1, since now) begins."""
    train_step, taken = loop.train_step, [0]

    def watched(*given: Any, counted: bool) -> Tensor | None:
        taken[0] += 1
        if taken[0] == number:
            happens()
        return train_step(*given, counted)

    patch.setattr(loop, "train_step", watched)


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL; what the writing thread was doing is done."""


@contextmanager
def killed_at(step: int) -> Iterator[None]:
    def die() -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        before_step(patch, step, die)
        yield
