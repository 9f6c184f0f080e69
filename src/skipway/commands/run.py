"""A trained network in its folder, as an object: what `skipway.train` and `skipway.load` return."""

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from skipway import bundle
from skipway.bundle import Card
from skipway.bundle.hub import local_folder
from skipway.commands.arguments import Folder
from skipway.commands.evaluate import evaluate
from skipway.commands.loaded_run import read_records
from skipway.data.dataset import Dataset
from skipway.deploy.engines.base import Goal, Notify, ignore_message
from skipway.errors import BundleError
from skipway.hardware import Hardware
from skipway.models.base import Network
from skipway.reporting import notebook
from skipway.tasks.base import Evaluation
from skipway.trained import TrainedModel, task_of
from skipway.training.time_estimate import duration

if TYPE_CHECKING:
    from skipway.deploy.generate.generator import Generator
    from skipway.deploy.predict.predictor import Predictor


class Run:
    """The folder of a trained network. It can be given wherever a path can be, since `os.fspath(run)` is the folder.

    What the folder holds is read when first asked for, and then kept. Raises BundleError, then, for a folder that
    holds no bundle or one that was changed.
    """

    def __init__(self, path: Folder) -> None:
        self.path = local_folder(path)

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        try:
            card = self.card
        except BundleError:
            return f"Run({str(self.path)!r}, no bundle)"
        figure = f", {self.split} {task_of(card).summary(self.metrics)}" if self.split else ""
        return f"Run({str(self.path)!r}, {card.network['name']} on {card.data['name']}{figure})"

    @cached_property
    def card(self) -> Card:
        """Everything that is known of the network: classes, preprocessing, recipe, data, figures."""
        return bundle.read_card(self.path)

    @cached_property
    def model(self) -> Network:
        """The network itself, in evaluation mode, on the CPU, in float32."""
        return TrainedModel.load(self.path).net

    @property
    def split(self) -> str | None:
        """The split that was evaluated at the end of the training; None where none was."""
        return next((name for name in ("test", "val", "train") if name in self.card.metrics), None)

    @property
    def metrics(self) -> dict[str, Any]:
        """The figures of `split` by name, shares from 0 to 1; empty where no split was evaluated."""
        return self.card.metrics[self.split] if self.split else {}

    def figure(self) -> tuple[str, str, str] | None:
        """(figure, its name, a note) of the figure that counts; None where no split was evaluated."""
        return task_of(self.card).presenter.figure_of(self.metrics) if self.metrics else None

    @property
    def history(self) -> list[dict[str, Any]]:
        """A record for each epoch, in order; empty for a bundle that came without."""
        return read_records(self.path)

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
        say: Notify = ignore_message,
    ) -> "Predictor":
        """A `Predictor` of this network; the arguments are those of its class."""
        from skipway.deploy.predict.predictor import Predictor

        return Predictor(self, hardware, engine, goal, sample, say)

    def generator(
        self, hardware: Hardware | None = None, engine: str = "eager", say: Notify = ignore_message
    ) -> "Generator":
        """A `Generator` of this network; the arguments are those of its class."""
        from skipway.deploy.generate.generator import Generator

        return Generator(self, hardware, engine, say)

    def evaluate(
        self,
        data: Folder | Dataset | None = None,
        split: str | None = None,
        hardware: Hardware | None = None,
    ) -> Evaluation:
        """Evaluate the network on `data` (None: what it was trained on), and write a report to the folder's `reports`.

        `split` is test when None, or else val, or else all. Raises SkipwayError. See also `skipway.evaluate`.
        """
        return evaluate(self, data, split, hardware=hardware)

    def _repr_html_(self) -> str | None:
        """A card for notebooks, in their own colours, light or dark; None, for the text instead, without a bundle."""
        try:
            card = self.card
        except BundleError:
            return None
        figure, note = "", "not evaluated yet"
        if found := self.figure():
            figure, name, interval = found
            note = f"{name} on {self.split}, {interval}, {self.metrics['n']:,} images"
        rows = details(card, len(self.history), str(self))
        return notebook.summary(card.network["name"], card.data["name"], rows, figure, note, link(self.report))


def details(card: Card, epochs: int, folder: str) -> list[tuple[str, str]]:
    """What a notebook shows of a run besides the main figure."""
    length = f", {epochs} epoch{'' if epochs == 1 else 's'}" if epochs else ""
    side, channels = card.preprocessing["size"], card.preprocessing["channels"]
    kind = {1: "grey", 3: "colour"}.get(channels, f"with {channels} channels")
    return [
        ("recipe", card.recipe["name"]),
        ("trained", f"{duration(card.seconds)}{length}"),
        ("classes", f"{len(card.classes):,}"),
        *((split, f"{count:,} images") for split, count in card.data.get("counts", {}).items()),
        ("input", f"{side} × {side} {kind}"),
        ("parameters", f"{card.parameters:,}"),
        ("folder", folder),
    ]


def link(file: Path) -> str | None:
    """The address of a file, from the working directory where it lies below that; None where there is no file."""
    if not file.is_file():
        return None
    whole = file.absolute()
    return quote(whole.relative_to(Path.cwd()).as_posix()) if whole.is_relative_to(Path.cwd()) else whole.as_uri()


def load(run: Folder) -> Run:
    """The trained network in the folder `run`, verified: `.model`, `.card`, `.predictor()` and more.

    Raises BundleError for a folder that is no bundle, or one that was changed.
    """
    found = Run(run)
    found.card  # noqa: B018 - is read and verified here
    return found
