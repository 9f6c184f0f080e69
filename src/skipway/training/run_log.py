"""Output of a run, its plan, epoch lines, metrics.jsonl and card."""

import dataclasses
import json
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from skipway import bundle
from skipway.data.dataset import Dataset
from skipway.hardware import Hardware
from skipway.training.recipes import RECIPES, Recipe
from skipway.training.setup import TrainSetup


def counts_of(dataset: Dataset) -> dict[str, int]:
    """Number of images in each existing split."""
    return {key: len(split) for key, split in dataset.splits.items()}


def describe_sharing(recipe: Recipe, world: int) -> str:
    """How a batch is divided among processes and parts, and over which images batch norm is computed."""
    share = recipe.batch // world
    at_once = min(recipe.micro or share, share)
    text = f"{world} processes, {share} images of each batch per process" if world > 1 else "one process"
    if at_once < share:
        text += f", {at_once} at once in {-(-share // at_once)} parts, gradients exchanged after the last"
    if recipe.sync_norm and world > 1:
        return f"{text}; batch norm over {at_once * world} images, of all processes"
    return f"{text}; batch norm over {at_once} images"


def describe_recipe(recipe: Recipe, verbose: bool) -> str:
    """The recipe's name and the fields in which it differs from the one of that name; `verbose`: every field."""
    known = RECIPES.get(recipe.name)
    values = dataclasses.asdict(recipe)
    own = {} if known is None or verbose else dataclasses.asdict(known)
    shown = " ".join(f"{k}={v}" for k, v in values.items() if k != "name" and v != "" and own.get(k) != v)
    if not own:
        return f"recipe {recipe.name}: {shown}"
    return f"recipe {recipe.name}" + (f", changed: {shown}" if shown else "")


def print_plan(
    setup: TrainSetup, hardware: Hardware, total: int, world: int, console: Console, verbose: bool = False
) -> None:
    """Print what the run will do, before it starts."""
    dataset, recipe = setup.dataset, setup.recipe
    console.print(f"data {dataset.name}: " + ", ".join(f"{n:,} {key}" for key, n in counts_of(dataset).items()))
    console.print(f"task {setup.task.describe(dataset, vars(recipe))}", soft_wrap=True)
    console.print(describe_recipe(recipe, verbose), soft_wrap=True)
    console.print(
        f"learning rate {recipe.lr:g} for {recipe.lr_batch} images -> {recipe.peak_rate():g} for {recipe.batch}; "
        f"{total:,} steps, {total / setup.batches.order.steps:.4g} epochs"
    )
    if world > 1 or 0 < recipe.micro < recipe.batch:
        console.print(describe_sharing(recipe, world), soft_wrap=True)
    console.print("hardware " + ", ".join(f"{k} {v}" for k, v in hardware.summary().items()), soft_wrap=True)


def check_first_loss(loss: float, chance: float, console: Console) -> None:
    """Print the first loss beside that at chance; far from it, initialisation or preprocessing is likely wrong."""
    text = f"first loss {loss:.3f}, chance gives {chance:.3f}"
    if abs(loss - chance) > 0.5 * chance:
        text = f"warning: {text}: the start is far from chance; check the initialisation and the range of the images"
    console.print(text)


def describe(record: dict[str, Any], figure_names: Mapping[str, str], plain: Mapping[str, str]) -> str:
    """The record as a line of text. figure_names: the task's figures, which are shares of 1, and their names; plain:
    its other figures."""
    parts = [f"epoch {record['epoch']:3d}", f"loss {record['train_loss']:.4f}"]
    parts += [f"{name} {100 * record[key]:.2f} %" for key, name in figure_names.items() if key in record]
    parts += [f"{name} {record[key]:.4f}" for key, name in plain.items() if key in record]
    parts.append(f"{record['images_per_second']:,.0f} images/s")
    parts.append(f"waiting {100 * record['waiting']:.1f} %")
    return "  ".join([*parts, f"{record['seconds']:.1f} s"])


def write_records(out: Path, records: list[dict[str, Any]], console: Console) -> None:
    """Write metrics.jsonl: one JSON line per epoch. A full disk is reported; the checkpoints hold the records too."""
    lines = "".join(json.dumps(record) + "\n" for record in records)
    try:
        bundle.write_atomically(out / "metrics.jsonl", lines.encode())
    except OSError as error:
        text = f"warning: metrics.jsonl could not be written ({error.strerror}); trying again after the next epoch"
        console.print(text, soft_wrap=True)


@cache
def commit() -> str:
    """The git revision of the running source, or "unknown" outside a checkout."""
    here = Path(__file__).parent
    found = subprocess.run(
        ["git", "-C", here, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect results."""
    return {"python": platform.python_version()} | {p: version(p) for p in ("skipway", "torch", "torchvision")}


def make_card(
    setup: TrainSetup, data: str, hardware: Hardware, records: list[dict[str, Any]], kept: dict[str, Any]
) -> bundle.Card:
    """The card of the trained network. data: the data set's fingerprint; kept: the card's field of that name."""
    dataset = setup.dataset
    return bundle.Card(
        task=setup.task.name,
        network=setup.network,
        head=setup.task.head,
        classes=list(dataset.classes),
        preprocessing=dataclasses.asdict(setup.preprocessing),
        recipe=dataclasses.asdict(setup.recipe),
        data={
            "name": dataset.name,
            "fingerprint": data,
            "counts": counts_of(dataset),
            "reading": dataclasses.asdict(dataset.reading),
            **dataset.train.targets.facts(dataset.classes),
        },
        hardware=hardware.summary(),
        versions=versions(),
        commit=commit(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        parameters=sum(p.numel() for p in setup.net.parameters()),
        seconds=records[-1]["seconds"],
        kept=kept,
        teacher=setup.teacher.origin if setup.teacher else {},
    )
