"""Throughput and latency of every engine on this machine, for a trained network or one of the names."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from skipway import models
from skipway.bundle.hub import is_on_hub
from skipway.data.preprocess import for_photographs
from skipway.deploy.engines.base import EngineInput, Goal, Notify
from skipway.deploy.engines.selection import format_options, format_row, machine_summary, time_engines
from skipway.deploy.export.folder import exported_int8
from skipway.deploy.sample_images import Samples, at_hand, generated
from skipway.hardware import Hardware
from skipway.models.base import classes_of
from skipway.tasks import classifier
from skipway.trained import TrainedModel

IMAGES = 16
GOALS: tuple[Goal, ...] = ("throughput", "latency")


@dataclass(frozen=True)
class BenchmarkResult:
    """Rows: goal, engine, options, precision, images_per_s, milliseconds (of one call, median), verdict, note."""

    network: str
    size: int
    images: str
    machine: str
    rows: list[dict[str, Any]]


def load_subject(what: str, hardware: Hardware) -> tuple[EngineInput, str, Callable[[], Samples]]:
    """A bundle's network, or a named one with random weights at its usual size: what to measure, and inputs for it.

    Raises SkipwayError for what is neither.
    """
    if is_on_hub(what) or Path(what).is_dir():
        model = TrainedModel.load(what)
        card = model.card
        trained = replace(EngineInput.of(model, hardware), int8=exported_int8(model.folder))
        return trained, card.network["name"], lambda: at_hand(card, (), None, IMAGES)
    net = models.build(what).eval()
    size = 224 if net.smallest > 8 else 32
    shown = for_photographs(size)
    task = classifier([str(number) for number in range(classes_of(net))])
    return EngineInput(net, task, shown, hardware), what, lambda: generated(shown, IMAGES)


def benchmark_engines(what: str, hardware: Hardware, say: Notify, seconds: float) -> BenchmarkResult:
    """Every engine for both goals, each variant for at least `seconds`. Raises SkipwayError for an unknown network."""
    trained, name, inputs = load_subject(what, hardware)
    trained = replace(trained, net=hardware.place(trained.net))
    samples = inputs()
    rows = []
    for goal in GOALS:
        say(f"{name}, {goal}, {samples.origin}")
        for row in time_engines(replace(trained, goal=goal), samples, seconds):
            say(format_row(row))
            rows.append({"goal": goal, **asdict(row)})
    return BenchmarkResult(name, trained.preprocessing.size, samples.origin, machine_summary(hardware), rows)


def print_benchmark(found: BenchmarkResult, console: Console) -> None:
    """The rows as a table: for throughput images a second, for latency the median of one image."""
    console.print(f"{found.network} at {found.size} pixels, {found.images}\n{found.machine}", soft_wrap=True)
    table = Table("goal", "engine", "options", box=None, pad_edge=False)
    for heading in ("images/s", "ms a call"):
        table.add_column(heading, justify="right")
    table.add_column("beside eager")
    for row in found.rows:
        ran = row["images_per_s"] is not None
        shown = (f"{row['images_per_s']:.1f}", f"{row['milliseconds']:.2f}") if ran else ("", "")
        table.add_row(row["goal"], row["engine"], format_options(row["options"]), *shown, row["verdict"])
    console.print(table)
    console.print("a call is one batch; eager's is always evaluation's batch, so that its digits are evaluation's")
