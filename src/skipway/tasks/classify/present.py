"""Presentation of predictions and evaluations of classes: tables, JSON, CSV, pages."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from skipway.reporting.numbers import interval, percent
from skipway.reporting.svg import measured
from skipway.tasks.base import Comparison, Finding, Presenter, Records, ReportContext
from skipway.tasks.classify.prediction import ClassPrediction

if TYPE_CHECKING:
    from skipway.tasks.classify.evaluation import ClassEvaluation


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

    def csv_row(self, prediction: ClassPrediction | None, top: int) -> list[Any]:
        values = [value for pair in prediction.classes for value in pair] if prediction else []
        return [*values, *[""] * (2 * top - len(values))]

    def schema(self) -> dict[str, Any]:
        from skipway.tasks.classify.schema import ClassShare

        return {"classes": (list[ClassShare], ...)}

    def figures(self, evaluation: "ClassEvaluation") -> list[tuple[str, str, str]]:
        return parts().figures(evaluation)

    def figure_of(self, metrics: Mapping[str, Any]) -> tuple[str, str, str]:
        if "map" in metrics:
            return percent(metrics["map"]), "mean average precision", f"macro F1 {percent(metrics['f1_macro'])}"
        return percent(metrics["top1"]), "top-1 accuracy", f"95\u00a0% interval {interval(metrics['top1_interval'])}"

    def result(self, evaluation: "ClassEvaluation") -> str:
        return parts().result(evaluation)

    def baseline(self, evaluation: "ClassEvaluation") -> str:
        return parts().baseline(evaluation)

    def findings(self, evaluation: "ClassEvaluation", context: ReportContext) -> list[Finding]:
        return parts().diagnose(context.card, context.records, evaluation)

    def curves(self) -> dict[str, tuple[str, str, float]]:
        return {
            "loss": ("Loss", "nats", 1),
            "top1": ("Top-1 accuracy", "%", 100),
            "map": ("Mean average precision", "%", 100),
            "f1_macro": ("Macro F1", "%", 100),
        }

    def about_training(self, evaluation: "ClassEvaluation", records: Records) -> str:
        if evaluation.several or measured(records, "train_top1"):
            return ""
        return "Mixup or CutMix was used in training, so there is no accuracy on train."

    def sections(self, evaluation: "ClassEvaluation", context: ReportContext) -> str:
        return parts().sections(evaluation, context)

    def details(self, evaluation: "ClassEvaluation", context: ReportContext) -> dict[str, Any]:
        return parts().details(evaluation, context)

    def predictions(self, evaluation: "ClassEvaluation") -> list[dict[str, Any]]:
        return parts().predictions(evaluation)

    def compare(self, runs: Sequence[str], evaluations: "Sequence[ClassEvaluation]", command: str) -> Comparison:
        return parts().compare(runs, evaluations, command)


def parts() -> ModuleType:
    """The module of the report's parts, which imports SciPy and scikit-learn: prediction alone does not need them."""
    from skipway.tasks.classify import report_parts

    return report_parts
