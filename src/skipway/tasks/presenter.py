"""Predictions, and how a task shows them. Neither needs torch: predictions of exports are shown without it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from PIL.Image import Image

from skipway.errors import SkipwayError


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image, in the subclass of the task; or why the image could not be read."""

    name: str
    error: str = ""

    def _repr_html_(self) -> str:
        """For notebooks: the image, where its name is the path of one, and the answer."""
        from skipway.reporting import notebook

        return notebook.prediction(self.name, self.error, [])


class Presenter(ABC):
    """How a task shows predictions and the main figure of a card: on the console, in JSON and CSV, over HTTP."""

    table_columns: ClassVar[tuple[str, ...]]  # of predictions on the console, after the image's name

    @abstractmethod
    def table_row(self, prediction: Any) -> tuple[str, ...]:
        """The cells of `table_columns`."""

    @abstractmethod
    def row(self, prediction: Any) -> dict[str, Any]:
        """The fields of a prediction in JSON; of one that could not be read, the same fields, empty."""

    @abstractmethod
    def csv_header(self, top: int) -> list[str]:
        """The columns of a CSV file after the image's name; `top`: how many classes were asked for."""

    @abstractmethod
    def csv_rows(self, prediction: Any, top: int) -> list[list[Any]]:
        """The values of these columns, in one or several rows; empty text where there are none."""

    def draw(self, image: Image, prediction: Any, classes: Sequence[str]) -> Image:
        """A copy of the RGB image with what was found in it. Raises SkipwayError where nothing is drawn."""
        raise SkipwayError("predictions of this task have no place in the image: leave out --draw")

    def with_polygons(self) -> "Presenter":
        """The presenter whose `row` has the outlines of the classes besides their masks. Raises SkipwayError where
        pixels have no classes."""
        raise SkipwayError("predictions of this task have no class for each pixel: leave out --polygons")

    def mask(self, prediction: Any) -> Image:
        """The class of each pixel as an image of the original's size with a palette, whose values are the classes'
        indices. Raises SkipwayError where pixels have no classes."""
        raise SkipwayError("predictions of this task have no class for each pixel: leave out --masks")

    def coco(self, prediction: Any, classes: Sequence[str]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """An image and its annotations in COCO's format, without ids of images and annotations. Raises SkipwayError
        where there are no objects."""
        raise SkipwayError("predictions of this task are not objects: leave out --coco")

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """The fields of `row` for `pydantic.create_model`: name -> (type, default or Field)."""

    @abstractmethod
    def figure_of(self, metrics: Mapping[str, Any]) -> tuple[str, str, str]:
        """(figure, its name, note) of the main figure, from a card's metrics."""
