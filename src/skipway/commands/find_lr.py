"""The learning-rate range test on a data set, and its plot."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from rich.console import Console

from skipway.commands.arguments import Folder
from skipway.commands.chosen_training import choose_training
from skipway.data.dataset import Dataset
from skipway.data.quality.corrupt import Policy
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions
from skipway.errors import SkipwayError
from skipway.hardware import Hardware
from skipway.new_files import require_new
from skipway.reporting.svg import STYLE, quieten
from skipway.training.autoconfig import Start
from skipway.training.range_test import RateTest, range_test
from skipway.training.recipe_keywords import RecipeFields
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")
HIGHEST = 1.5  # times the first loss: the plot's upper end
DOTS = 150  # an inch, of a PNG
MARKS = {"steepest": ("#009E73", "^"), "valley": ("#D55E00", "s")}


def find_lr(
    data: Folder | Dataset,
    recipe: str | Recipe | None = None,
    hardware: Hardware | None = None,
    console: Console | None = None,
    low: float = 1e-5,
    high: float = 10.0,
    steps: int = 100,
    plot: Folder | None = None,
    bad: Policy = "error",
    changes: Mapping[str, Any] | None = None,
    reading: ReadOptions = DEFAULT_READ_OPTIONS,
    start: Start = "pretrained",
    **fields: Unpack[RecipeFields],
) -> RateTest:
    """The loss of a network over `steps` steps, whose learning rate grows from `low` to `high`, and suggested rates.

    Rates are those of the recipe's field `lr`, given for `lr_batch` images a step. plot: a PNG, SVG or PDF file that is
    written; nothing else is. The other arguments are those of `train`. Raises SkipwayError for what cannot be trained,
    and a file that exists.
    """
    file = None if plot is None else Path(plot)
    if file is not None:
        if file.suffix.lower() not in FORMATS:
            raise SkipwayError(f"--plot {file} must end in {', '.join(FORMATS)}")
        require_new(file, "--plot")
    chosen = choose_training(
        data, recipe, hardware, console, bad, {**(changes or {}), **fields}, reading=reading, start=start
    )
    found = range_test(chosen.dataset, chosen.recipe, chosen.hardware, chosen.console, low, high, steps)
    if file is not None:
        save_plot(found, file)
    return found


def save_plot(found: RateTest, file: Path) -> None:
    """The losses over the rates, with both suggestions, as a picture. Raises SkipwayError where that fails."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, 4), layout="constrained")
        draw(found, figure)
        try:
            figure.savefig(file, dpi=DOTS)
        except OSError as error:
            raise SkipwayError(f"{file} cannot be written ({error.strerror})") from None


def draw(found: RateTest, figure: "Figure") -> None:
    axes = figure.subplots()
    axes.plot(found.rates, found.losses, color="#0072B2", linewidth=1.6)
    for name, (colour, marker) in MARKS.items():
        rate = getattr(found, name)
        loss = found.losses[found.rates.index(rate)]
        axes.plot([rate], [loss], marker, color=colour, markersize=7, label=f"{name} {rate:.2g}")
    axes.axvline(found.lr, color="#8a9099", linestyle=":", label=f"the recipe's {found.lr:g}")
    axes.set_xscale("log")
    axes.set_ylim(top=min(max(found.losses), HIGHEST * found.losses[0]))
    axes.set_xlabel(f"learning rate for {found.lr_batch} images a step (lr)")
    axes.set_ylabel("loss, smoothed")
    quieten(axes)
    axes.legend(frameon=False)
