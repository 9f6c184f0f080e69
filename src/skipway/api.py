"""The verbs, each joining rooms that do not know each other: what the command line and `import skipway` both call."""

import inspect
import json
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Unpack

from rich.console import Console

from skipway import judging, models
from skipway.checking import QUIET, ready
from skipway.data import SOURCES, open_source
from skipway.data.bad import Policy, policy_of
from skipway.data.reading import DEFAULT_READING, Reading
from skipway.data.source import Source
from skipway.errors import SkipwayError
from skipway.evaluation.evaluate import Evaluation
from skipway.evaluation.wording import AS_BUNDLED
from skipway.hardware import Hardware, decide
from skipway.judging import Order, conclude
from skipway.run import Folder, Run, as_data
from skipway.training.autoconfig import AUTO, Start, configure
from skipway.training.distributed import Group, joined
from skipway.training.estimate import parse_budget
from skipway.training.fields import checked, from_json
from skipway.training.finished import finished_run
from skipway.training.keywords import RecipeFields, field_values
from skipway.training.loop import train as fit
from skipway.training.recipes import Recipe, find_recipe
from skipway.training.upkeep import ORDINARY, Upkeep, is_begun, read_begun


def free_folder(source: Source, recipe: Recipe) -> Path:
    """runs/<data>-<model>, with a number behind it when that is taken."""
    data = re.sub(r"[^\w.]+", "-", Path(source.name).resolve().stem).strip("-.") or "data"  # a pattern's braces too
    stem = f"{data}-{recipe.model}"
    number = 1
    while (folder := Path("runs", stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return folder


def chosen(recipe: str | Recipe | None, fields: Mapping[str, Any]) -> tuple[Recipe | None, dict[str, Any]]:
    """The recipe, None for the default one, and the values of `fields` in the types of a recipe's.

    Refuses, before any image is opened, what can be refused then: raises SkipwayError for an unknown recipe, network
    or field, and for a value that no training can have.
    """
    for name in fields.keys() & inspect.signature(decide).parameters.keys():
        raise SkipwayError(f"{name} is a choice of hardware: give hardware=skipway.decide({name}=...)")
    values = field_values(fields, (name for name in inspect.signature(train).parameters if name != "fields"))
    if isinstance(recipe, str):
        recipe = find_recipe(recipe)
    if not isinstance(recipe, Recipe | None):
        kind = type(recipe).__name__
        raise SkipwayError(f"recipe must be a name or a skipway.Recipe, not of type {kind}")
    base = recipe or replace(find_recipe("quick"), pretrained=AUTO)  # what is chosen may start from weights
    field_values({name: value for name, value in vars(base).items() if name != "name"})
    checked(replace(base, **values))
    if recipe or "model" in values:
        models.require_name(values.get("model", base.model))
    return recipe, values


def default_console() -> Console:
    """Where a person waits, at a prompt or in a notebook: the screen; in programs nowhere."""
    return Console(highlight=False) if hasattr(sys, "ps1") or "ipykernel" in sys.modules else QUIET


def settled(hardware: Hardware | None) -> Hardware:
    """`hardware`, or else the best of this machine. Raises SkipwayError for anything else."""
    if not isinstance(hardware, Hardware | None):
        raise SkipwayError("hardware must be what skipway.decide returns, as skipway.decide('cpu')")
    return hardware or decide()


def agreed(recipe: Recipe | None, group: Group) -> Recipe:
    """The first process's recipe, in every process: what was measured to choose it differs from one to the other."""
    return from_json(json.loads(group.told(json.dumps(asdict(recipe) if recipe else {}))))


def train(
    data: Folder | Source,
    recipe: str | Recipe | None = None,
    out: Folder | None = None,
    hardware: Hardware | None = None,
    console: Console | None = None,
    resume: bool = False,
    bad: Policy | None = "error",
    upkeep: Upkeep = ORDINARY,
    changes: Mapping[str, Any] | None = None,
    reading: Reading = DEFAULT_READING,
    start: Start = "pretrained",
    budget: str | None = None,
    **fields: Unpack[RecipeFields],
) -> Run:
    """Train a network on images, evaluate it, and return its run: `skipway.train("photos", epochs=5)`.

    data: a name or path as `open_source` takes it with `reading`, or a Source. recipe: a name, a Recipe, or None for
    what suits the data and the machine; every field of it can be set by keyword, as `model="resnet18"` or `batch=64`,
    and `changes` holds such fields as a mapping. start: "scratch" for no pretrained weights where the recipe is
    chosen. budget: the most that the run may take, such as "10m", to which the recipe is fitted. out: the run's
    folder, runs/<data>-<model> when None; it gets the bundle, metrics.jsonl, report.html and report.json. The report
    is on test where the data have one, otherwise on val. console: where progress is printed; None prints in notebooks
    and at a prompt, and nowhere else. The data are checked first; `bad` says what becomes of images that cannot be
    read (see `data.bad`), None that the caller has checked them. With `resume` the run in `out` goes on (see also
    `resume`).

    Where torchrun started it, this process trains together with the others, and the first of them judges. Raises
    SkipwayError for anything a user can mend, Interrupted when a signal asked for an end.
    """
    began = time.monotonic()
    data = as_data(data)
    recipe, changes = chosen(recipe, {**(changes or {}), **fields})
    limit, policy = budget and parse_budget(budget), None if bad is None else policy_of(bad)
    with joined(settled(hardware)) as (group, own):
        if group.most and out is None:
            raise SkipwayError("processes that are started again find the run by its folder: give --out")
        console = QUIET if group.rank else console or default_console()
        with group.in_turn():
            source = open_source(data, reading) if isinstance(data, str) else data
            if policy is not None:
                size = changes.get("size", recipe.size if recipe else 1)  # what is chosen later suits the images
                source = ready(source, policy, size, changes.get("channels", 0), console)
        again = resume or (group.restarts > 0 and out is not None and is_begun(Path(out)))
        if again:
            under_way = recipe if resume and recipe else read_begun(Path(out or "")).recipe
            decided: Recipe | None = replace(under_way, **changes)
        else:
            left = limit - (time.monotonic() - began) if limit else None
            decided = None if group.rank else configure(source, recipe, changes, start, left, own, console)
        recipe = agreed(decided, group)
        folder = Path(group.told(os.fspath(out or free_folder(source, recipe))))
        fit(source, recipe, folder, own, console, again, upkeep, group)
        if group.rank == 0:
            conclude(folder, source, own, console)
    return Run(folder)


def resume(
    run: Folder,
    hardware: Hardware | None = None,
    console: Console | None = None,
    upkeep: Upkeep | None = None,
    changes: Mapping[str, Any] | None = None,
    **fields: Unpack[RecipeFields],
) -> Run:
    """Go on with the interrupted training in the folder `run`, which is all that it needs, and return it.

    Data, recipe, machine and upkeep are those that it was begun with, unless given. Of a run that is finished, this is
    said, and nothing is done. Raises as `train` does, and when the data or the recipe are not the same any more.
    """
    if not (changes or fields) and (said := finished_run(Path(run))):
        (console or default_console()).print(said, soft_wrap=True, markup=False)
        return Run(run)
    begun = read_begun(Path(run))
    recipe, changes = chosen(begun.recipe, {**(changes or {}), **fields})
    source = replace(open_source(begun.place(tuple(SOURCES)), Reading(**begun.reading)), name=begun.data)
    own = settled(hardware or decide(**begun.hardware))
    return train(source, recipe, run, own, console, True, begun.bad, upkeep or begun.upkeep, changes)


def evaluate(
    run: Folder,
    data: Folder | Source | None = None,
    split: str | None = None,
    out: Folder | None = None,
    hardware: Hardware | None = None,
    console: Console = QUIET,
    protocol: str = AS_BUNDLED,
) -> Evaluation:
    """Judge the bundle `run` on `data` (None: what it was trained on) and write report.html and report.json to `out`.

    `out` is RUN/reports/<data>-<split> when None; `protocol` is a name of `evaluation.protocols`. Raises SkipwayError.
    """
    place = None if data is None else as_data(data)
    order = Order(place, split, Path(out) if out else None, settled(hardware), console, protocol)
    return judging.evaluate([os.fspath(run)], order)


def load(run: Folder) -> Run:
    """The trained network in the folder `run`, verified: `.model`, `.card`, `.predictor()` and more. Raises BundleError
    for a folder that is no bundle, or one that was changed."""
    found = Run(run)
    found.card  # noqa: B018 - is read and verified here
    return found
