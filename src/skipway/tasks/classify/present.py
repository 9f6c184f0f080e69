"""Presentation of predicted classes: tables, JSON, CSV, HTTP."""

from collections.abc import Mapping
from typing import Any, ClassVar

from skipway.reporting.numbers import interval, percent
from skipway.tasks.classify.prediction import ClassPrediction
from skipway.tasks.presenter import Presenter

MARKS = ("unsure", "out_of_distribution")  # of an answer that is better not used


class ClassPresenter(Presenter):
    """For one class an image and for any number of classes. decides: whether answers may be unsure."""

    table_columns: ClassVar[tuple[str, ...]] = ("class", "probability", "next")

    def __init__(self, decides: bool = False) -> None:
        self.decides = decides

    def table_row(self, prediction: ClassPrediction) -> tuple[str, ...]:
        (name, value), *others = prediction.classes
        marks = [mark for mark in MARKS if getattr(prediction, mark)]
        rest = ", ".join(f"{other} {100 * share:.1f} %" for other, share in others)
        shown = ", ".join(marks).replace("_", " ")
        return f"{name} ({shown})" if marks else name, f"{100 * value:.2f} %", rest

    def row(self, prediction: ClassPrediction | None) -> dict[str, Any]:
        classes = prediction.classes if prediction else ()
        found: dict[str, Any] = {"classes": [{"class": name, "probability": value} for name, value in classes]}
        if self.decides:
            found |= {key: getattr(prediction, key, None) for key in MARKS}
        return found

    def csv_header(self, top: int) -> list[str]:
        further = [f"{what}_{i}" for i in range(2, top + 1) for what in ("class", "probability")]
        return ["class", "probability", *further, *(MARKS if self.decides else ())]

    def csv_rows(self, prediction: ClassPrediction | None, top: int) -> list[list[Any]]:
        values: list[Any] = [value for pair in prediction.classes for value in pair] if prediction else []
        values += [""] * (2 * top - len(values))
        if self.decides:
            values += [int(getattr(prediction, mark) or 0) if prediction else "" for mark in MARKS]
        return [values]

    def schema(self) -> dict[str, Any]:
        from skipway.tasks.classify.schema import ClassShare

        return {"classes": (list[ClassShare], ...)}

    def figure_of(self, metrics: Mapping[str, Any]) -> tuple[str, str, str]:
        if "map" in metrics:
            return percent(metrics["map"]), "mean average precision", f"macro F1 {percent(metrics['f1_macro'])}"
        return percent(metrics["top1"]), "top-1 accuracy", f"95\u00a0% interval {interval(metrics['top1_interval'])}"
