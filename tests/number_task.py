"""A task that the package does not have, in one file: a number for each image, learned by its squared error."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from markupsafe import escape
from torch import Tensor

from skipway.data.dataset import Dataset, Split
from skipway.data.loader import Batch
from skipway.data.targets import Targets
from skipway.tasks.base import LossResult, Outputs, Prediction, Presenter, ReportContext, Reporter, SplitOutputs, Task


class NumberTargets(Targets):
    task = "number"

    def __init__(self, values: np.ndarray) -> None:
        self.values = values.astype(np.float32)

    def __len__(self) -> int:
        return len(self.values)

    def take(self, indices: np.ndarray) -> "NumberTargets":
        return NumberTargets(self.values[indices])

    def tensor(self) -> Tensor:
        return torch.from_numpy(self.values)

    def digest(self) -> bytes:
        return self.values.tobytes()


@dataclass(frozen=True)
class NumberPrediction(Prediction):
    value: float = float("nan")


@dataclass(frozen=True)
class NumberEvaluation:
    scored: SplitOutputs
    metrics: dict[str, Any]


class SquaredError:
    """Mean squared error, batch by batch."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def update(self, outputs: Outputs, targets: Tensor) -> None:
        self.total += float((outputs[0][:, 0] - targets).square().sum())
        self.count += len(targets)

    def merge(self, others: Sequence[Self]) -> None:
        for other in others:
            self.total, self.count = self.total + other.total, self.count + other.count

    def compute(self) -> dict[str, float]:
        return {"mse": self.total / self.count}


class NumberPresenter(Presenter, Reporter):
    table_columns: ClassVar[tuple[str, ...]] = ("value",)

    def table_row(self, prediction: NumberPrediction) -> tuple[str, ...]:
        return (f"{prediction.value:.3f}",)

    def row(self, prediction: NumberPrediction | None) -> dict[str, Any]:
        return {"value": prediction.value if prediction else None}

    def csv_header(self, top: int) -> list[str]:
        return ["value"]

    def csv_rows(self, prediction: NumberPrediction | None, top: int) -> list[list[Any]]:
        return [[prediction.value if prediction else ""]]

    def schema(self) -> dict[str, Any]:
        return {"value": (float | None, ...)}

    def figures(self, evaluation: NumberEvaluation) -> list[tuple[str, str, str]]:
        return [self.figure_of(evaluation.metrics)]

    def figure_of(self, metrics: Mapping[str, Any]) -> tuple[str, str, str]:
        return f"{metrics['mse']:.4f}", "Mean squared error", ""

    def result(self, evaluation: NumberEvaluation) -> str:
        return f"{evaluation.scored.split} mean squared error {evaluation.metrics['mse']:.4f}"

    def sections(self, evaluation: NumberEvaluation, context: ReportContext) -> str:
        first = escape(evaluation.scored.images.names[0])
        return f"<section><h2>Numbers</h2><p>{first}: {float(evaluation.scored.scores[0]):.3f}</p></section>"


@dataclass(frozen=True)
class Number(Task):
    name: ClassVar[str] = "number"
    metric: ClassVar[str] = "mse"
    higher_is_better: ClassVar[bool] = False
    annotation: ClassVar[str] = "a number an image"
    output_names: ClassVar[tuple[str, ...]] = ("value",)
    classes: tuple[str, ...] = ()

    @classmethod
    def from_classes(cls, classes: Sequence[str]) -> "Number":
        return cls(tuple(classes))

    @property
    def outputs(self) -> int:
        return 1

    def loss(self, forward: Callable[[Tensor], Any], batch: Batch, random: Any = None) -> LossResult:
        outputs = forward(batch.images)
        return LossResult({"loss": (outputs.float()[:, 0] - batch.targets).square().mean()}, outputs)

    def metrics(self) -> SquaredError:
        return SquaredError()

    def evaluate(self, scored: SplitOutputs, calibration: Mapping[str, Any] | None) -> NumberEvaluation:
        error = self.metrics()
        error.update(scored.outputs, scored.images.targets.tensor())
        return NumberEvaluation(scored, {"n": len(scored.images), **error.compute()})

    def summary(self, metrics: Mapping[str, Any]) -> str:
        return f"mean squared error {metrics['mse']:.4f}"

    def predict(self, name: str, outputs: Outputs, size: Any, temperature: float, top: int) -> NumberPrediction:
        return NumberPrediction(name, value=float(outputs[0][0]))

    @property
    def presenter(self) -> NumberPresenter:
        return NumberPresenter()

    reporter = presenter


def brightness(count: int, seed: int = 0) -> Dataset:
    """Images of 16 pixels, annotated with their mean brightness from 0 to 1."""
    rng = np.random.default_rng(seed)
    level = rng.uniform(0.1, 0.9, (count, 1, 1, 1))
    pixels = (255 * (level + rng.uniform(-0.1, 0.1, (count, 16, 16, 3))).clip(0, 1)).round().astype(np.uint8)
    split = Split(pixels, NumberTargets(pixels.mean((1, 2, 3)) / 255), [f"{seed}-{i}" for i in range(count)])
    return Dataset(f"brightness-{seed}", (), split)
