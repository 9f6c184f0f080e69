"""What a run says and writes down: its plan, a line an epoch, and the card of what came of it."""

import dataclasses
import json
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from skipway import bundle
from skipway.data.source import Source
from skipway.hardware import Hardware
from skipway.training import balance
from skipway.training.prepare import Prepared
from skipway.training.recipes import RECIPES, Recipe

SHOWN = {  # figures of a record in an epoch's line, and what they are called there
    "train_top1": "train",
    "train_f1_micro": "train F1",
    "val_top1": "val",
    "val_map": "val mAP",
    "val_f1_micro": "val F1",
}


def counts_of(source: Source) -> dict[str, int]:
    """Images in each split that there is."""
    return {key: len(split) for key, split in source.splits.items()}


def describe_sharing(recipe: Recipe, world: int) -> str:
    """How several processes, or several parts of a batch, share it; and what batch norm sees of it."""
    share = recipe.batch // world
    at_once = min(recipe.micro or share, share)
    text = f"{world} processes, {share} images of each batch to each" if world > 1 else "one process"
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
    prepared: Prepared, hardware: Hardware, total: int, world: int, console: Console, verbose: bool = False
) -> None:
    """What the run will do, before it starts."""
    source, recipe = prepared.source, prepared.recipe
    console.print(f"data {source.name}: " + ", ".join(f"{n:,} {key}" for key, n in counts_of(source).items()))
    kind = "tag (any number of classes an image)" if source.multilabel else "classify (one class an image)"
    console.print(f"task {kind}; {balance.describe(source, recipe)}", soft_wrap=True)
    console.print(describe_recipe(recipe, verbose), soft_wrap=True)
    console.print(
        f"learning rate {recipe.lr:g} for {recipe.lr_batch} images -> {recipe.peak_rate():g} for {recipe.batch}; "
        f"{total:,} steps, {total / prepared.batches.order.steps:.4g} epochs"
    )
    if world > 1 or 0 < recipe.micro < recipe.batch:
        console.print(describe_sharing(recipe, world), soft_wrap=True)
    console.print("hardware " + ", ".join(f"{k} {v}" for k, v in hardware.summary().items()), soft_wrap=True)


def check_first_loss(loss: float, even: float, console: Console) -> None:
    """Say the first loss beside that of even odds; a fresh network far from it is wrongly initialised or fed."""
    text = f"first loss {loss:.3f}, even odds give {even:.3f}"
    if abs(loss - even) > 0.5 * even:
        text = f"warning: {text}: the start is far from even odds; check the initialisation and the range of the images"
    console.print(text)


def describe(record: dict[str, Any]) -> str:
    """The record as a line for people."""
    parts = [f"epoch {record['epoch']:3d}", f"loss {record['train_loss']:.4f}"]
    parts += [f"{name} {100 * record[key]:.2f} %" for key, name in SHOWN.items() if key in record]
    parts.append(f"{record['images_per_second']:,.0f} images/s")
    parts.append(f"waiting {100 * record['waiting']:.1f} %")
    return "  ".join([*parts, f"{record['seconds']:.1f} s"])


def write_records(out: Path, records: list[dict[str, Any]], console: Console) -> None:
    """metrics.jsonl: one JSON line an epoch. A full disk is said; the checkpoints hold the records too."""
    lines = "".join(json.dumps(record) + "\n" for record in records)
    try:
        bundle.write_atomically(out / "metrics.jsonl", lines.encode())
    except OSError as fault:
        why = f"warning: metrics.jsonl could not be written ({fault.strerror}); it will be, after the next epoch"
        console.print(why, soft_wrap=True)


@cache
def commit() -> str:
    """The revision of the source that runs, or "unknown" where it is not a checkout."""
    here = Path(__file__).parent
    found = subprocess.run(
        ["git", "-C", here, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def versions() -> dict[str, str]:
    """Of Python and of what decides the digits."""
    return {"python": platform.python_version()} | {p: version(p) for p in ("skipway", "torch", "torchvision")}


def make_card(prepared: Prepared, data: str, hardware: Hardware, records: list[dict[str, Any]]) -> bundle.Card:
    """The card of the trained network; `data` is the source's fingerprint."""
    source = prepared.source
    return bundle.Card(
        task=prepared.task.name,
        network=prepared.network,
        classes=list(source.classes),
        preprocessing=dataclasses.asdict(prepared.preprocessing),
        recipe=dataclasses.asdict(prepared.recipe),
        data={
            "name": source.name,
            "fingerprint": data,
            "counts": counts_of(source),
            "reading": dataclasses.asdict(source.reading),
        },
        hardware=hardware.summary(),
        versions=versions(),
        commit=commit(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        parameters=sum(p.numel() for p in prepared.net.parameters()),
        seconds=records[-1]["seconds"],
    )
