"""A trained network in its folder, as an object: what `skipway.train` and `skipway.load` return."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from skipway import bundle, judging, models
from skipway.bundle import Card
from skipway.checking import QUIET
from skipway.data.source import Source
from skipway.deploy.contract import Goal, Say, silent
from skipway.errors import BundleError, SkipwayError
from skipway.evaluation.evaluate import Evaluation
from skipway.evaluation.pages import environment, interval, percent
from skipway.evaluation.plots import legible
from skipway.hardware import Hardware, decide
from skipway.judging import Order
from skipway.models.contract import Network
from skipway.training.estimate import duration

if TYPE_CHECKING:
    from skipway.deploy.predictor import Predictor

Folder = str | os.PathLike[str]


class Run:
    """The folder of a trained network. It can be given wherever a path can be, since `os.fspath(run)` is the folder.

    What the folder holds is read when first asked for, and then kept. Raises BundleError, then, for a folder that
    holds no bundle or one that was changed.
    """

    def __init__(self, path: Folder) -> None:
        self.path = Path(path)

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        try:
            card = self.card
        except BundleError:
            return f"Run({str(self.path)!r}, no bundle)"
        figure = f", {self.split} {bundle.headline(self.metrics)}" if self.split else ""
        return f"Run({str(self.path)!r}, {card.network['name']} on {card.data['name']}{figure})"

    @cached_property
    def card(self) -> Card:
        """Everything that is known of the network: classes, preprocessing, recipe, data, figures."""
        return bundle.read_card(self.path)

    @cached_property
    def model(self) -> Network:
        """The network itself, in evaluation mode, on the CPU, in float32."""
        return bundle.load(self.path, models.build)[0]

    @property
    def split(self) -> str | None:
        """The split that was judged at the end of the training; None where none was."""
        return next((name for name in ("test", "val", "train") if name in self.card.metrics), None)

    @property
    def metrics(self) -> dict[str, Any]:
        """The figures of `split` by name, shares from 0 to 1; empty where no split was judged."""
        return self.card.metrics[self.split] if self.split else {}

    @property
    def history(self) -> list[dict[str, Any]]:
        """A record for each epoch, in order; empty for a bundle that came without."""
        return judging.read_records(self.path)

    @property
    def report(self) -> Path:
        """Where the report is, which only a network has that was trained here."""
        return self.path / "report.html"

    def predictor(
        self,
        hardware: Hardware | None = None,
        engine: str = "eager",
        goal: Goal = "throughput",
        sample: Sequence[str | Path] = (),
        say: Say = silent,
    ) -> "Predictor":
        """A `Predictor` of this network; the arguments are those of its class."""
        from skipway.deploy.predictor import Predictor

        return Predictor(self, hardware, engine, goal, sample, say)

    def evaluate(
        self,
        data: Folder | Source | None = None,
        split: str | None = None,
        hardware: Hardware | None = None,
    ) -> Evaluation:
        """Judge the network on `data` (None: what it was trained on), and write a report below the folder's `reports`.

        `split` is test when None, or else val, or else all. Raises SkipwayError. See also `skipway.evaluate`.
        """
        place = None if data is None else as_data(data)
        return judging.evaluate([str(self)], Order(place, split, None, hardware or decide(), QUIET))

    def _repr_html_(self) -> str | None:
        """A card for notebooks, in their own colours, light or dark; None, for the text instead, without a bundle."""
        try:
            card = self.card
        except BundleError:
            return None
        pages = environment("skipway")
        pages.filters |= {"legible": legible}
        return pages.get_template("run.html").render(
            run=self, card=card, figure=figure_of(self.metrics), took=duration(card.seconds), report=link(self.report)
        )


def as_data(data: Folder | Source) -> str | Source:
    """What names a data set, as text, or a Source as it is. Raises SkipwayError for anything else."""
    if isinstance(data, Source):
        return data
    if not isinstance(data, str | os.PathLike):
        kind = type(data).__name__
        raise SkipwayError(f"data must be a name, a path or what skipway.open_source returns, not of type {kind}")
    return os.fspath(data)


def figure_of(metrics: dict[str, Any]) -> tuple[str, str, str] | None:
    """(figure, its name, what stands beside it) of the figure that counts; None where nothing was judged."""
    if not metrics:
        return None
    if "map" in metrics:
        return percent(metrics["map"]), "mean average precision", f"macro F1 {percent(metrics['f1_macro'])}"
    return percent(metrics["top1"]), "top-1 accuracy", f"95\u00a0% interval {interval(metrics['top1_interval'])}"


def link(file: Path) -> str | None:
    """The address of a file, from the working directory where it lies below that; None where there is no file."""
    if not file.is_file():
        return None
    whole = file.absolute()
    return quote(whole.relative_to(Path.cwd()).as_posix()) if whole.is_relative_to(Path.cwd()) else whole.as_uri()
