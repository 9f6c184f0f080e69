"""The verbs, each joining rooms that do not know each other: what the command line and `import skipway` both call."""

import re
from pathlib import Path

from rich.console import Console
from torch import nn

from skipway import bundle, judging, models
from skipway.bundle import Card
from skipway.checking import ready
from skipway.data import open_source
from skipway.data.bad import Policy
from skipway.data.loader import natural_size
from skipway.data.source import Source, require_learnable
from skipway.evaluation.evaluate import Evaluation
from skipway.evaluation.wording import AS_BUNDLED
from skipway.hardware import Hardware, decide
from skipway.judging import Order, conclude
from skipway.training.loop import train as fit
from skipway.training.prepare import channels_of
from skipway.training.recipes import Recipe, find_recipe

QUIET = Console(quiet=True)


def default_recipe(source: Source) -> Recipe:
    """`quick` for small images, `modern` for photographs; nothing is downloaded unless asked for."""
    require_learnable(source)
    return find_recipe("quick" if natural_size(source.train, channels_of(source)) <= models.SMALL else "modern")


def free_folder(source: Source, recipe: Recipe) -> Path:
    """runs/<data>-<model>, with a number behind it when that is taken."""
    data = re.sub(r"[^\w.]+", "-", Path(source.name).resolve().stem).strip("-.") or "data"  # a pattern's braces too
    stem = f"{data}-{recipe.model}"
    number = 1
    while (folder := Path("runs", stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return folder


def train(
    data: str | Source,
    recipe: Recipe | None = None,
    out: str | Path | None = None,
    hardware: Hardware | None = None,
    console: Console = QUIET,
    resume: bool = False,
    bad: Policy | None = "error",
) -> Path:
    """Train on `data` (a name or path as `open_source` takes it), judge the result, and return its folder.

    The data are checked first; `bad` says what becomes of images that cannot be read (see `data.bad`), None that the
    caller has checked them. The folder holds the bundle, metrics.jsonl, report.html and report.json. The report is on
    test where the data have one, otherwise on val. Raises SkipwayError for anything a user can mend.
    """
    source = open_source(data) if isinstance(data, str) else data
    if bad is not None:
        size, channels = (recipe.size, recipe.channels) if recipe else (0, 0)
        source = ready(source, bad, size, channels, console)
    recipe = recipe or default_recipe(source)
    hardware = hardware or decide()
    folder = fit(source, recipe, Path(out) if out else free_folder(source, recipe), hardware, console, resume)
    conclude(folder, source, hardware, console)
    return folder


def evaluate(
    run: str | Path,
    data: str | Source | None = None,
    split: str | None = None,
    out: str | Path | None = None,
    hardware: Hardware | None = None,
    console: Console = QUIET,
    protocol: str = AS_BUNDLED,
) -> Evaluation:
    """Judge the bundle `run` on `data` (None: what it was trained on) and write report.html and report.json to `out`.

    `out` is RUN/reports/<data>-<split> when None; `protocol` is a name of `evaluation.protocols`. Raises SkipwayError.
    """
    order = Order(data, split, Path(out) if out else None, hardware or decide(), console, protocol)
    return judging.evaluate([run], order)


def load(run: str | Path) -> tuple[nn.Module, Card]:
    """The network of a bundle, in evaluation mode on the CPU, and its card. Raises BundleError."""
    return bundle.load(Path(run), models.build)
