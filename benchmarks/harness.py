"""Measuring: alternating runs, medians and ratios, and JSON that says on what and with what.

Machines are shared and noisy, so only ratios between candidates that took turns in one run are worth quoting.
"""

import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.provenance import hashes
from skipway import Predictor, hardware
from skipway.data.dataset import Dataset
from skipway.training import optimiser, setup
from skipway.training.recipes import Recipe

RESULTS = Path(__file__).parent.parent / "results"


def alternate(candidates: dict[str, Callable[[], None]], rounds: int, warm: int = 1) -> dict[str, dict[str, Any]]:
    """Seconds of each candidate over `rounds` turns, after `warm` turns that do not count: median and all."""
    for _ in range(warm):
        for run in candidates.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: {"median_s": statistics.median(s), "all_s": [round(x, 5) for x in s]} for name, s in seconds.items()}


def turns(steps: Iterator[None], count: int) -> Callable[[], None]:
    """A candidate that takes `count` of the steps."""

    def run() -> None:
        for _ in range(count):
            next(steps)

    return run


def training_steps(dataset: Dataset, recipe: Recipe, settings: hardware.Hardware) -> Iterator[None]:
    """A step of the package's training at each turn, from the loader to updated weights."""
    made = setup.setup_training(dataset, recipe, settings, Console(quiet=True))
    (updated,) = optimiser.optimisers(made.net, made.recipe)
    made.net.train()

    def forward(*inputs: Any) -> Any:
        with settings.autocast():
            return made.net(*inputs)

    epoch = 0
    while True:
        for batch in made.batches.epoch(epoch):
            batch = batch._replace(images=settings.place_images(batch.images))
            updated.zero_grad(set_to_none=True)
            made.task.loss(forward, batch).losses["loss"].backward()
            updated.step()
            yield
        epoch += 1


def milliseconds_an_image(run: Path, files: list[Path], settings: hardware.Hardware) -> dict[str, float]:
    """Median time from a file to its prediction, one at a time, by engine; the first three do not count."""
    found = {}
    for engine in ("eager", "auto"):
        predictor = Predictor(run, settings, engine, goal="latency", sample=files[:16])
        seconds = []
        for file in files:
            start = time.perf_counter()
            predictor.predict(file)
            seconds.append(time.perf_counter() - start)
        found[engine] = round(1000 * statistics.median(seconds[3:]), 1)
    return found


def mean_and_deviation(values: list[float]) -> dict[str, Any]:
    """Mean and sample standard deviation over seeds, None for one seed, with every value."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "deviation": deviation, "all": values}


def surroundings() -> dict[str, Any]:
    """Hardware, versions, commit and date."""
    described = ["git", "-C", str(RESULTS), "describe", "--always", "--dirty", "--exclude=*"]
    return {
        "hardware": hardware.decide().summary(),
        "versions": {"python": platform.python_version()}
        | {p: version(p) for p in ("torch", "torchvision", "skipway")},
        "commit": subprocess.run(described, capture_output=True, text=True, check=False).stdout.strip() or "unknown",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cuda": torch.cuda.is_available(),
    }


def save(name: str, measured: dict[str, Any], commit: str = "") -> None:
    """results/<name>.json with the hashes of the code that it measured, printed too; commit: of that code, where it was
    not this checkout's."""
    around = surroundings() | ({"commit": commit} if commit else {})
    text = json.dumps({"name": name, **measured, **around, "code": hashes(name)}, indent=1) + "\n"
    (RESULTS / f"{name}.json").write_text(text)
    print(text)
