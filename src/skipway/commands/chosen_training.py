"""What several commands train with: data that were checked, and the recipe that suits them, in one value."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from skipway.commands.arguments import Folder, as_data, default_console, resolve_hardware
from skipway.commands.check import check_for_training
from skipway.commands.train import resolve_recipe
from skipway.data import SOURCES, open_dataset
from skipway.data.dataset import Dataset
from skipway.data.quality.corrupt import Policy, policy_of
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions
from skipway.hardware import Hardware, decide
from skipway.training.autoconfig import Start, configure
from skipway.training.recipes import Recipe
from skipway.training.run_manifest import DEFAULT_OPTIONS, RunOptions, read_manifest, write_manifest


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
