"""Presentation of predicted classes: tables, JSON, CSV, HTTP."""

from collections.abc import Mapping
from typing import Any, ClassVar

from skipway.reporting.numbers import interval, percent
from skipway.tasks.base import Presenter
from skipway.tasks.classify.prediction import ClassPrediction


class ClassPresenter(Presenter):
    """For one class an image and for any number of classes."""

    table_columns: ClassVar[tuple[str, ...]] = ("class", "probability", "next")

    def table_row(self, prediction: ClassPrediction) -> tuple[str, ...]:
        (name, value), *others = prediction.classes
        rest = ", ".join(f"{other} {100 * share:.1f} %" for other, share in others)
        return name, f"{100 * value:.2f} %", rest

    def row(self, prediction: ClassPrediction | None) -> dict[str, Any]:
        classes = prediction.classes if prediction else ()
        return {"classes": [{"class": name, "probability": value} for name, value in classes]}

    def csv_header(self, top: int) -> list[str]:
        further = [f"{what}_{i}" for i in range(2, top + 1) for what in ("class", "probability")]
        return ["class", "probability", *further]

    def csv_rows(self, prediction: ClassPrediction | None, top: int) -> list[list[Any]]:
        values = [value for pair in prediction.classes for value in pair] if prediction else []
        return [[*values, *[""] * (2 * top - len(values))]]

    def schema(self) -> dict[str, Any]:
        from skipway.tasks.classify.schema import ClassShare

        return {"classes": (list[ClassShare], ...)}

    def figure_of(self, metrics: Mapping[str, Any]) -> tuple[str, str, str]:
        if "map" in metrics:
            return percent(metrics["map"]), "mean average precision", f"macro F1 {percent(metrics['f1_macro'])}"
        return percent(metrics["top1"]), "top-1 accuracy", f"95\u00a0% interval {interval(metrics['top1_interval'])}"
