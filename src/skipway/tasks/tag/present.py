"""Presentation of the classes that are predicted above their own thresholds, beside the likeliest ones."""

from typing import Any, ClassVar

from skipway.reporting.numbers import MISSING
from skipway.tasks.classify.prediction import ClassPrediction
from skipway.tasks.classify.present import ClassPresenter

SEPARATOR = ";"  # of the predicted classes in a cell of a CSV file, as in tables of labels


class TagPresenter(ClassPresenter):
    """For a network with a threshold for each class."""

    table_columns: ClassVar[tuple[str, ...]] = ("predicted", *ClassPresenter.table_columns)

    def table_row(self, prediction: ClassPrediction) -> tuple[str, ...]:
        return (", ".join(prediction.predicted or ()) or MISSING, *super().table_row(prediction))

    def row(self, prediction: ClassPrediction | None) -> dict[str, Any]:
        return {**super().row(prediction), "predicted": list(prediction.predicted or ()) if prediction else []}

    def csv_header(self, top: int) -> list[str]:
        return [*super().csv_header(top), "predicted"]

    def csv_rows(self, prediction: ClassPrediction | None, top: int) -> list[list[Any]]:
        [values] = super().csv_rows(prediction, top)
        return [[*values, SEPARATOR.join(prediction.predicted or ()) if prediction else ""]]

    def schema(self) -> dict[str, Any]:
        return {**super().schema(), "predicted": (list[str], ...)}
