"""Throughput and latency of every engine on this machine, for a trained network or one of the names."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from skipway import bundle, models
from skipway.data.preprocess import Preprocessing, for_photographs
from skipway.deploy.choose import in_words, machine, told, try_all
from skipway.deploy.contract import Goal, Say, Trained
from skipway.deploy.folders import exported_int8
from skipway.deploy.samples import Samples, at_hand, generated
from skipway.hardware import Hardware
from skipway.models.contract import classes_of
from skipway.tasks import Classify, Task, task_named

IMAGES = 16
GOALS: tuple[Goal, ...] = ("throughput", "latency")


@dataclass(frozen=True)
class Bench:
    """Rows: goal, engine, options, precision, images_per_s, milliseconds (of one call, median), verdict, note."""

    network: str
    size: int
    images: str
    machine: str
    rows: list[dict[str, Any]]


def subject(what: str, hardware: Hardware) -> tuple[Trained, Task, str, Callable[[], Samples]]:
    """A bundle's network, or a named one with random weights at its usual size: what to measure, and images for it.

    Raises SkipwayError for what is neither.
    """
    if Path(what).is_dir():
        net, card = bundle.load(Path(what), models.build)
        shown, task = Preprocessing(**card.preprocessing), task_named(card.task, card.classes)
        trained = Trained(net, shown, hardware, int8=exported_int8(Path(what)), weights=card.weights_sha256)
        return trained, task, card.network["name"], lambda: at_hand(card, (), None, IMAGES)
    net = models.build(what).eval()
    size = 224 if net.smallest > 8 else 32
    shown = for_photographs(size)
    task = Classify(tuple(map(str, range(classes_of(net)))))
    return Trained(net, shown, hardware), task, what, lambda: generated(shown, IMAGES)


def bench(what: str, hardware: Hardware, say: Say, seconds: float) -> Bench:
    """Every engine for both goals, each variant for at least `seconds`. Raises SkipwayError for an unknown network."""
    trained, task, name, images = subject(what, hardware)
    trained = replace(trained, net=hardware.place(trained.net))
    samples = images()
    rows = []
    for goal in GOALS:
        say(f"{name}, {goal}, {samples.origin}")
        for row in try_all(replace(trained, goal=goal), task, samples, seconds):
            say(in_words(row))
            rows.append({"goal": goal, **asdict(row)})
    return Bench(name, trained.preprocessing.size, samples.origin, machine(hardware), rows)


def print_bench(found: Bench, console: Console) -> None:
    """The rows as a table: for throughput images a second, for latency the median of one image."""
    console.print(f"{found.network} at {found.size} pixels, {found.images}\n{found.machine}", soft_wrap=True)
    table = Table("goal", "engine", "options", box=None, pad_edge=False)
    for heading in ("images/s", "ms a call"):
        table.add_column(heading, justify="right")
    table.add_column("beside eager")
    for row in found.rows:
        ran = row["images_per_s"] is not None
        shown = (f"{row['images_per_s']:.1f}", f"{row['milliseconds']:.2f}") if ran else ("", "")
        table.add_row(row["goal"], row["engine"], told(row["options"]), *shown, row["verdict"])
    console.print(table)
    console.print("a call is one batch; eager's is always evaluation's batch, so that its digits are evaluation's")
