"""What several commands train with: data that were checked, and the recipe that suits them, in one value."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from skipway import bundle
from skipway.bundle import to_json, write_atomically
from skipway.commands.arguments import Folder, as_data, default_console, resolve_hardware
from skipway.commands.check import check_for_training
from skipway.commands.train import resolve_recipe
from skipway.data import SOURCES, open_dataset
from skipway.data.dataset import Dataset
from skipway.data.quality.corrupt import Policy, policy_of
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions
from skipway.errors import SkipwayError, first_line, refuse_if
from skipway.hardware import Hardware, decide
from skipway.training.autoconfig import Start, configure
from skipway.training.recipes import Recipe
from skipway.training.run_manifest import DEFAULT_OPTIONS, RunOptions, read_manifest, write_manifest

PLAN = "plan"  # the folder of what is trained several times, and how
T = TypeVar("T")


@dataclass(frozen=True)
class ChosenTraining:
    """A training that can be started: its data, recipe and machine, and where progress is printed."""

    dataset: Dataset
    recipe: Recipe
    hardware: Hardware
    console: Console
    options: RunOptions = DEFAULT_OPTIONS

    def write(self, folder: Path) -> None:
        """Write run.json in `folder`, from which `read_training` gives the same. Raises BundleError."""
        write_manifest(folder, self.dataset, self.recipe, self.hardware, self.options)


def choose_training(
    data: Folder | Dataset,
    recipe: str | Recipe | None,
    hardware: Hardware | None,
    console: Console | None,
    bad: Policy,
    changes: Mapping[str, Any],
    reading: ReadOptions = DEFAULT_READ_OPTIONS,
    start: Start = "pretrained",
    options: RunOptions = DEFAULT_OPTIONS,
) -> ChosenTraining:
    """The training of `data`, with the arguments of `train`; `changes`: fields of the recipe.

    Raises SkipwayError for whatever `train` would refuse before its first step.
    """
    place, policy = as_data(data), policy_of(bad)
    recipe, changes = resolve_recipe(recipe, changes)
    own, shown = resolve_hardware(hardware), console or default_console()
    dataset = open_dataset(place, reading) if isinstance(place, str) else place
    size = changes.get("size", recipe.size if recipe else 1)  # what is chosen later suits the images
    dataset = check_for_training(dataset, policy, size, changes.get("channels", 0), shown)
    return ChosenTraining(dataset, configure(dataset, recipe, changes, start, None, own, shown), own, shown, options)


def read_training(folder: Path, hardware: Hardware | None, console: Console | None) -> ChosenTraining:
    """The training that `ChosenTraining.write` wrote in `folder`; `hardware` None: the same as then.

    Raises SkipwayError for a folder without it, and for data that are not there any more.
    """
    manifest, shown = read_manifest(folder), console or default_console()
    dataset = open_dataset(manifest.place(tuple(SOURCES)), ReadOptions(**manifest.reading))
    recipe = manifest.recipe
    dataset = check_for_training(dataset, policy_of(manifest.bad), recipe.size, recipe.channels, shown)
    own = resolve_hardware(hardware or decide(**manifest.hardware))
    return ChosenTraining(dataset, recipe, own, shown, manifest.options)


def write_plan(folder: Path, chosen: ChosenTraining, file: str, values: Mapping[str, Any]) -> None:
    """Write what is trained, and `values` as the plan's `file`, into the new `folder`. Raises BundleError where it is
    not empty."""
    with bundle.new_folder(folder):
        (folder / PLAN).mkdir()
        write_atomically(folder / PLAN / file, to_json({**values, "data": chosen.dataset.fingerprint}))
        chosen.write(folder / PLAN)


def read_plan(
    folder: Path,
    file: str,
    what: str,
    decode: Callable[[dict[str, Any]], T],
    hardware: Hardware | None,
    console: Console | None,
) -> tuple[ChosenTraining, T]:
    """What `write_plan` wrote, its values decoded. what: "search", as messages name what is resumed.

    Raises SkipwayError for a folder without it, and for data that have changed.
    """
    path = folder / PLAN / file
    refuse_if(not path.is_file(), f"{folder} holds no {what} to resume", "give the folder of one")
    chosen = read_training(folder / PLAN, hardware, console)
    try:
        plan = json.loads(path.read_bytes())
        decoded, mark = decode(plan), plan["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise SkipwayError(f"{path} cannot be read ({first_line(error)}): start a new {what}") from None
    refuse_if(mark != chosen.dataset.fingerprint, f"the data of {folder} have changed", f"start a new {what}")
    return chosen, decoded
