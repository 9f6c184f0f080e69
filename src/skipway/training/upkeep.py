"""How a run is kept, watched and begun: what is none of the recipe's, because nothing in it changes what is learned."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from skipway.bundle import to_json, write_atomically
from skipway.data.reading import Reading
from skipway.data.source import Source
from skipway.errors import BundleError, SkipwayError, first_line
from skipway.hardware import Hardware
from skipway.training.checkpoint import NAME
from skipway.training.fields import from_json
from skipway.training.recipes import Recipe
from skipway.training.tracking import TRACKERS

SCHEMA = 1
READING = {field.name for field in dataclasses.fields(Reading)}
Bad = Literal["error", "skip"]


@dataclass(frozen=True)
class Upkeep:
    """checkpoint_steps: a checkpoint every so many steps; 0: every `checkpoint_seconds`. A checkpoint is also written
    when val is better than ever, and at the end. `track`: a name of `tracking.TRACKERS`. `deterministic`: only kernels
    that give the same digits each time. `verbose`: every value of the recipe is printed.
    """

    checkpoint_steps: int = 0
    checkpoint_seconds: float = 120.0
    track: str = "none"
    deterministic: bool = False
    verbose: bool = False

    def __post_init__(self) -> None:
        if self.checkpoint_steps < 0 or not self.checkpoint_seconds >= 0:
            raise SkipwayError("--checkpoint-steps and --checkpoint-seconds must not be negative")


ORDINARY = Upkeep()


@dataclass(frozen=True)
class Begun:
    """What a run was begun with, so that its folder is all that it needs to go on.

    `data`: as `open_source` takes it in `folder`, the working directory, with `reading`; `bad`: see `data.bad`;
    `hardware`: the arguments of `hardware.decide`.
    """

    data: str
    folder: str
    bad: Bad
    recipe: Recipe
    hardware: dict[str, Any]
    upkeep: Upkeep
    reading: dict[str, str] = dataclasses.field(default_factory=dict)

    def place(self, known: tuple[str, ...]) -> str:
        """`data` for the present working directory, unless it is of `known` names or on the hub."""
        here = Path.cwd() == Path(self.folder)
        return self.data if here or self.data in known or self.data.startswith("hf:") else f"{self.folder}/{self.data}"


def decided(hardware: Hardware) -> dict[str, Any]:
    """The arguments of `hardware.decide` that give `hardware`."""
    return {
        "device": hardware.device.type,
        "precision": str(hardware.dtype).removeprefix("torch."),
        "channels_last": "on" if hardware.memory_format == torch.channels_last else "off",
        "compile_": "on" if hardware.compile_ else "off",
        "workers": hardware.workers,
    }


def write_begun(out: Path, source: Source, recipe: Recipe, hardware: Hardware, upkeep: Upkeep) -> None:
    """run.json of the run in `out`. Raises BundleError where it cannot be written."""
    values = {
        "schema": SCHEMA,
        "data": source.name,
        "folder": str(Path.cwd()),
        "reading": dataclasses.asdict(source.reading),
        "bad": "skip" if source.left_out else "error",
        "recipe": dataclasses.asdict(recipe),
        "hardware": decided(hardware),
        "upkeep": dataclasses.asdict(upkeep),
    }
    try:
        write_atomically(out / NAME, to_json(values))
    except OSError as fault:
        raise BundleError(
            f"{out / NAME} cannot be written ({fault.strerror}): free some room, and begin anew"
        ) from None


def is_begun(out: Path) -> bool:
    """Whether `out` holds a run that can go on."""
    return (out / NAME).is_file()


def read_begun(out: Path) -> Begun:
    """What the run in `out` was begun with. Raises BundleError for what is missing or cannot be."""
    if not is_begun(out):
        raise BundleError(f"{out} holds no run to resume ({NAME} is missing): give the folder of one, or start anew")
    try:
        values = json.loads((out / NAME).read_bytes())
        if not isinstance(values, dict) or values.pop("schema", None) != SCHEMA:
            raise ValueError("it is of another version")
        upkeep, hardware = values.pop("upkeep"), values.pop("hardware")
        begun = Begun(**values | {"recipe": from_json(values["recipe"])}, hardware=hardware, upkeep=Upkeep(**upkeep))
        require_kinds(begun)
        return begun
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError, SkipwayError) as fault:
        raise BundleError(f"{out / NAME} cannot be read ({first_line(fault)}): restore it, or start anew") from None


def require_kinds(begun: Begun) -> None:
    """Raises ValueError for a value of another kind than it is written with."""
    up, words = begun.upkeep, [begun.data, begun.folder]
    own = {"device": str, "precision": str, "channels_last": str, "compile_": str, "workers": int}
    right = (
        all(isinstance(word, str) and word and "\0" not in word for word in words)
        and begun.bad in ("error", "skip")
        and isinstance(begun.hardware, dict)
        and begun.hardware.keys() == own.keys()
        and all(type(begun.hardware[name]) is kind for name, kind in own.items())
        and type(up.checkpoint_steps) is int
        and type(up.checkpoint_seconds) in (int, float)
        and up.track in TRACKERS
        and type(up.deterministic) is bool
        and type(up.verbose) is bool
        and isinstance(begun.reading, dict)
        and begun.reading.keys() <= READING
        and all(isinstance(value, str) for value in begun.reading.values())
    )
    if not right:
        raise ValueError("a value is of another kind")
