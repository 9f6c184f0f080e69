"""The main figures of generators in text; predictions there are none."""

from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn

from skipway.errors import SkipwayError
from skipway.tasks.base import Presenter
from skipway.tasks.generate.prediction import NO_PREDICTION


class GeneratePresenter(Presenter):
    """For generated images, which `skipway generate` writes: every method for predictions raises SkipwayError."""

    table_columns: ClassVar[tuple[str, ...]] = ()

    def table_row(self, prediction: Any) -> NoReturn:
        raise SkipwayError(NO_PREDICTION)

    def row(self, prediction: Any) -> NoReturn:
        raise SkipwayError(NO_PREDICTION)

    def csv_header(self, top: int) -> NoReturn:
        raise SkipwayError(NO_PREDICTION)

    def csv_rows(self, prediction: Any, top: int) -> NoReturn:
        raise SkipwayError(NO_PREDICTION)

    def schema(self) -> dict[str, Any]:
        return {}

    def figure_of(self, metrics: Mapping[str, Any]) -> tuple[str, str, str]:
        if "frechet_distance" not in metrics:
            return f"{metrics['velocity_loss']:.4f}", "velocity loss", f"{metrics['n']:,} images"
        floor = metrics.get("frechet_floor")
        beside = f", training images {floor:.3g}" if floor is not None else ""
        note = f"in features of {metrics['features']}, {metrics['samples']:,} samples{beside}"
        return f"{metrics['frechet_distance']:.3g}", "Fréchet distance", note
