"""A training from its data to its report: `skipway train`."""

import inspect
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Unpack

from rich.console import Console

from skipway import models
from skipway.commands.arguments import QUIET, Folder, as_data, default_console, resolve_hardware
from skipway.commands.check import check_for_training
from skipway.commands.evaluate import evaluate_after_training
from skipway.commands.run import Run
from skipway.data import SOURCES, open_dataset
from skipway.data.dataset import Dataset
from skipway.data.quality.corrupt import Policy, policy_of
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions
from skipway.errors import SkipwayError, first_line, refuse_if
from skipway.hardware import Hardware, decide
from skipway.training.autoconfig import AUTO, Start, configure
from skipway.training.distributed import Group, init_distributed
from skipway.training.finished import finished_run
from skipway.training.loop import train as fit
from skipway.training.recipe_fields import from_json, validate_recipe
from skipway.training.recipe_keywords import RecipeFields, field_values
from skipway.training.recipes import Recipe, find_recipe
from skipway.training.run_manifest import DEFAULT_OPTIONS, RunOptions, has_manifest, read_manifest
from skipway.training.time_estimate import parse_budget


def free_folder(dataset: Dataset, recipe: Recipe) -> Path:
    """runs/<data>-<model>, with a number behind it when that is taken."""
    data = re.sub(r"[^\w.]+", "-", Path(dataset.name).resolve().stem).strip("-.") or "data"  # a pattern's braces too
    stem = f"{data}-{recipe.model}"
    number = 1
    while (folder := Path("runs", stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return folder


def read_recipe(file: Path) -> Recipe:
    """The recipe in a JSON file, as a search writes it. Raises SkipwayError where it cannot be read or is invalid."""
    try:
        return from_json(json.loads(file.read_bytes()))
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else first_line(error)
        raise SkipwayError(f"--recipe {file} cannot be read: {why}") from None
    except SkipwayError as error:
        raise SkipwayError(f"--recipe {file}: {error}") from None


def resolve_recipe(recipe: str | Recipe | None, fields: Mapping[str, Any]) -> tuple[Recipe | None, dict[str, Any]]:
    """The recipe, None for the default one, and the values of `fields` in the types of a recipe's.

    Refuses, before any image is opened, what can be refused then: raises SkipwayError for an unknown recipe, network
    or field, and for a value that no training can have.
    """
    for name in fields.keys() & inspect.signature(decide).parameters.keys():
        raise SkipwayError(f"{name} is a choice of hardware: give hardware=skipway.decide({name}=...)")
    values = field_values(fields, (name for name in inspect.signature(train).parameters if name != "fields"))
    if isinstance(recipe, str):
        recipe = read_recipe(Path(recipe)) if recipe.endswith(".json") else find_recipe(recipe)
    if not isinstance(recipe, Recipe | None):
        kind = type(recipe).__name__
        raise SkipwayError(f"recipe must be a name or a skipway.Recipe, not of type {kind}")
    base = recipe or replace(find_recipe("quick"), pretrained=AUTO)  # what is chosen may start from weights
    field_values({name: value for name, value in vars(base).items() if name != "name"})
    validate_recipe(replace(base, **values))
    if recipe or "model" in values:
        models.require_known(values.get("model", base.model))
    return recipe, values


def limit_of(budget: str | None, recipe: Recipe | None, changes: Mapping[str, Any]) -> float | None:
    """The seconds of `budget`, None without one. Raises SkipwayError beside a teacher, whose time is not known."""
    taught = changes.get("teacher", recipe.teacher if recipe else "")
    refuse_if(budget and taught, "--budget does not know the time of a teacher", "give --epochs instead")
    return parse_budget(budget) if budget else None


def broadcast_recipe(recipe: Recipe | None, group: Group) -> Recipe:
    """The first process's recipe, in every process: what was measured to choose it differs from one to the other."""
    return from_json(json.loads(group.broadcast(json.dumps(asdict(recipe) if recipe else {}))))


def train(
    data: Folder | Dataset,
    recipe: str | Recipe | None = None,
    out: Folder | None = None,
    hardware: Hardware | None = None,
    console: Console | None = None,
    resume: bool = False,
    bad: Policy | None = "error",
    options: RunOptions = DEFAULT_OPTIONS,
    changes: Mapping[str, Any] | None = None,
    reading: ReadOptions = DEFAULT_READ_OPTIONS,
    start: Start = "pretrained",
    budget: str | None = None,
    **fields: Unpack[RecipeFields],
) -> Run:
    """Train a network on images, evaluate it, and return its run: `skipway.train("photos", epochs=5)`.

    data: a name or path as `open_dataset` takes it with `reading`, or a Dataset. recipe: a name, a Recipe, or None for
    what suits the data and the machine; every field of it can be set by keyword, as `model="resnet18"` or `batch=64`,
    and `changes` holds such fields as a mapping. start: "scratch" for no pretrained weights where the recipe is
    chosen. budget: the most that the run may take, such as "10m", to which the recipe is fitted. out: the run's
    folder, runs/<data>-<model> when None; it gets the bundle, metrics.jsonl, report.html and report.json. The report
    is on test where the data have one, otherwise on val. console: where progress is printed; None prints in notebooks
    and at a prompt, and nowhere else. The data are checked first; `bad` says what becomes of images that cannot be
    read (see `data.quality.corrupt`), None that the caller has checked them. With `resume` the run in `out` goes on
    (see also `resume`).

    Where torchrun started it, this process trains together with the others, and the first of them evaluates. Raises
    SkipwayError for anything a user can mend, Interrupted when a signal asked for an end.
    """
    began, data = time.monotonic(), as_data(data)
    recipe, changes = resolve_recipe(recipe, {**(changes or {}), **fields})
    limit, policy = limit_of(budget, recipe, changes), None if bad is None else policy_of(bad)
    with init_distributed(resolve_hardware(hardware)) as (group, own):
        if group.most and out is None:
            raise SkipwayError("processes that are started again find the run by its folder: give --out")
        console = QUIET if group.rank else console or default_console()
        with group.main_process_first():
            dataset = open_dataset(data, reading) if isinstance(data, str) else data
            if policy is not None:
                size = changes.get("size", recipe.size if recipe else 1)  # what is chosen later suits the images
                dataset = check_for_training(dataset, policy, size, changes.get("channels", 0), console)
        begun = group.restarts > 0 and out is not None and has_manifest(Path(out))
        again = group.any_rank(resume or (begun and group.rank == 0))[0]
        if again:
            under_way = recipe if resume and recipe else read_manifest(Path(out or "")).recipe
            decided: Recipe | None = replace(under_way, **changes)
        else:
            left = limit - (time.monotonic() - began) if limit else None
            decided = None if group.rank else configure(dataset, recipe, changes, start, left, own, console)
        recipe = broadcast_recipe(decided, group)
        folder = Path(group.broadcast(os.fspath(out or free_folder(dataset, recipe))))
        fit(dataset, recipe, folder, own, console, again, options, group)
        if group.rank == 0:
            evaluate_after_training(folder, dataset, own, console)
    return Run(folder)


def resume(
    run: Folder,
    hardware: Hardware | None = None,
    console: Console | None = None,
    options: RunOptions | None = None,
    changes: Mapping[str, Any] | None = None,
    **fields: Unpack[RecipeFields],
) -> Run:
    """Go on with the interrupted training in the folder `run`, which is all that it needs, and return it.

    Data, recipe, machine and options are those that it was started with, unless given. Of a run that is finished, this
    is printed, and nothing is done. Raises as `train` does, and when the data or the recipe are not the same any more.
    """
    if not (changes or fields) and (said := finished_run(Path(run))):
        (console or default_console()).print(said, soft_wrap=True, markup=False)
        return Run(run)
    manifest = read_manifest(Path(run))
    recipe, changes = resolve_recipe(manifest.recipe, {**(changes or {}), **fields})
    dataset = replace(open_dataset(manifest.place(tuple(SOURCES)), ReadOptions(**manifest.reading)), name=manifest.data)
    own = resolve_hardware(hardware or decide(**manifest.hardware))
    return train(dataset, recipe, run, own, console, True, manifest.bad, options or manifest.options, changes)
