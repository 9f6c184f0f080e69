"""Options of a run outside its recipe, and run.json, from which it is resumed."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from skipway.bundle import to_json, write_atomically
from skipway.data.dataset import Dataset
from skipway.data.read_options import ReadOptions
from skipway.errors import BundleError, SkipwayError, first_line
from skipway.hardware import Hardware
from skipway.training.loggers import TRACKERS
from skipway.training.recipe_fields import from_json
from skipway.training.recipes import Recipe
from skipway.training.state_codec import NAME

SCHEMA = 1
READING = {field.name for field in dataclasses.fields(ReadOptions)}
Bad = Literal["error", "skip"]


@dataclass(frozen=True)
class RunOptions:
    """checkpoint_steps: a checkpoint every so many steps; 0: every `checkpoint_seconds`. A checkpoint is also written
    when val is the best so far, and at the end. `track`: a name of `loggers.TRACKERS`. `deterministic`: only kernels
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


DEFAULT_OPTIONS = RunOptions()


@dataclass(frozen=True)
class RunManifest:
    """What a run was started with, so that its folder is all that is needed to resume it.

    `data`: as `open_dataset` takes it in `folder`, the working directory, with `reading`; `bad`: see
    `data.quality.corrupt`; `hardware`: the arguments of `hardware.decide`.
    """

    data: str
    folder: str
    bad: Bad
    recipe: Recipe
    hardware: dict[str, Any]
    options: RunOptions
    reading: dict[str, str] = dataclasses.field(default_factory=dict)

    def place(self, known: tuple[str, ...]) -> str:
        """`data` relative to its folder from any working directory, except `known` names and data sets of the hub."""
        here = Path.cwd() == Path(self.folder)
        return self.data if here or self.data in known or self.data.startswith("hf:") else f"{self.folder}/{self.data}"


def hardware_arguments(hardware: Hardware) -> dict[str, Any]:
    """The arguments of `hardware.decide` that give `hardware`."""
    return {
        "device": hardware.device.type,
        "precision": str(hardware.dtype).removeprefix("torch."),
        "channels_last": "on" if hardware.memory_format == torch.channels_last else "off",
        "compile_": "on" if hardware.compile_ else "off",
        "workers": hardware.workers,
        "fused_units": "on" if hardware.fused_units else "off",
    }


def write_manifest(out: Path, dataset: Dataset, recipe: Recipe, hardware: Hardware, options: RunOptions) -> None:
    """Write run.json of the run in `out`. Raises BundleError where that fails."""
    values = {
        "schema": SCHEMA,
        "data": dataset.name,
        "folder": str(Path.cwd()),
        "reading": dataclasses.asdict(dataset.reading),
        "bad": "skip" if dataset.left_out else "error",
        "recipe": dataclasses.asdict(recipe),
        "hardware": hardware_arguments(hardware),
        "upkeep": dataclasses.asdict(options),
    }
    try:
        write_atomically(out / NAME, to_json(values))
    except OSError as error:
        raise BundleError(
            f"{out / NAME} cannot be written ({error.strerror}): free some space and start again"
        ) from None


def has_manifest(out: Path) -> bool:
    """Whether `out` holds a run that can be resumed."""
    return (out / NAME).is_file()


def read_manifest(out: Path) -> RunManifest:
    """What the run in `out` was started with. Raises BundleError for a missing or invalid file."""
    if not has_manifest(out):
        raise BundleError(f"{out} holds no run to resume ({NAME} is missing): give a run's folder, or start a new run")
    try:
        values = json.loads((out / NAME).read_bytes())
        if not isinstance(values, dict) or values.pop("schema", None) != SCHEMA:
            raise ValueError("it has another version")
        options, hardware = values.pop("upkeep"), values.pop("hardware")
        hardware.setdefault("fused_units", "off")  # of a run that was started before there were any
        manifest = RunManifest(
            **values | {"recipe": from_json(values["recipe"])}, hardware=hardware, options=RunOptions(**options)
        )
        require_types(manifest)
        return manifest
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError, SkipwayError) as error:
        raise BundleError(f"{out / NAME} cannot be read ({first_line(error)}): restore it or start a new run") from None


def require_types(manifest: RunManifest) -> None:
    """Raises ValueError for a value of the wrong type."""
    options, texts = manifest.options, [manifest.data, manifest.folder]
    types = {"device": str, "precision": str, "channels_last": str, "compile_": str, "workers": int}
    types["fused_units"] = str
    valid = (
        all(isinstance(text, str) and text and "\0" not in text for text in texts)
        and manifest.bad in ("error", "skip")
        and isinstance(manifest.hardware, dict)
        and manifest.hardware.keys() == types.keys()
        and all(type(manifest.hardware[name]) is kind for name, kind in types.items())
        and type(options.checkpoint_steps) is int
        and type(options.checkpoint_seconds) in (int, float)
        and options.track in TRACKERS
        and type(options.deterministic) is bool
        and type(options.verbose) is bool
        and isinstance(manifest.reading, dict)
        and manifest.reading.keys() <= READING
        and all(isinstance(value, str) for value in manifest.reading.values())
    )
    if not valid:
        raise ValueError("a value has the wrong type")
