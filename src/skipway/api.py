"""The verbs, each joining rooms that do not know each other: what the command line and `import skipway` both call."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from skipway import bundle, judging, models
from skipway.bundle import Card
from skipway.checking import ready
from skipway.data import SOURCES, open_source
from skipway.data.bad import Policy
from skipway.data.loader import natural_size
from skipway.data.source import Source, require_learnable
from skipway.errors import SkipwayError
from skipway.evaluation.evaluate import Evaluation
from skipway.evaluation.wording import AS_BUNDLED
from skipway.hardware import Hardware, decide
from skipway.judging import Order, conclude
from skipway.training.distributed import joined
from skipway.training.loop import train as fit
from skipway.training.prepare import channels_of
from skipway.training.recipes import Recipe, find_recipe
from skipway.training.upkeep import ORDINARY, Upkeep, is_begun, read_begun

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
    upkeep: Upkeep = ORDINARY,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Train on `data` (a name or path as `open_source` takes it), judge the result, and return its folder.

    The data are checked first; `bad` says what becomes of images that cannot be read (see `data.bad`), None that the
    caller has checked them. `changes` are fields of the recipe that have other values, also where it is the default
    for the data. The folder holds the bundle, metrics.jsonl, report.html and report.json. The report is on test where
    the data have one, otherwise on val. With `resume` the run in `out` goes on (see also `resume`).

    Where torchrun started it, this process trains together with the others, and the first of them judges. Raises
    SkipwayError for anything a user can mend, Interrupted when a signal asked for an end.
    """
    changes = changes or {}
    with joined(hardware or decide()) as (group, own):
        if group.most and out is None:
            raise SkipwayError("processes that are started again find the run by its folder: give --out")
        console = console if group.rank == 0 else QUIET
        with group.in_turn():
            source = open_source(data) if isinstance(data, str) else data
            if bad is not None:
                size, channels = (changes.get(name, getattr(recipe, name, 0)) for name in ("size", "channels"))
                source = ready(source, bad, size, channels, console)
        recipe = replace(recipe or default_recipe(source), **changes)
        folder = Path(group.told(str(out or free_folder(source, recipe))))
        again = resume or (group.restarts > 0 and is_begun(folder))
        fit(source, recipe, folder, own, console, again, upkeep, group)
        if group.rank == 0:
            conclude(folder, source, own, console)
    return folder


def resume(
    run: str | Path,
    hardware: Hardware | None = None,
    console: Console = QUIET,
    upkeep: Upkeep | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Path:
    """Go on with the interrupted training in the folder `run`, which is all that it needs, and return it.

    Data, recipe, machine and upkeep are those that it was begun with, unless given. Raises as `train` does, and when
    the data or the recipe are not the same any more.
    """
    begun = read_begun(Path(run))
    source = replace(open_source(begun.place(tuple(SOURCES))), name=begun.data)
    own = hardware or decide(**begun.hardware)
    return train(source, begun.recipe, run, own, console, True, begun.bad, upkeep or begun.upkeep, changes)


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
