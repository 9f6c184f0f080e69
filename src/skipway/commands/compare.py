"""Compare networks: what was published of them, what they take on this machine, and both as a picture.

Images per second are of inference under the settings of `hardware`, uncompiled: the median over ROUNDS, in each of
which every network has its turn, so that a machine that slows down slows all of them. Peak memory is measured before,
each network for itself: on a processor the largest resident size of a fresh process less what the process held before
the network was built, elsewhere the most that the device's allocator gave out; both with the weights and one batch.
"""

import gc
import math
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from skipway import models
from skipway.commands.summary import MARKS, costs, errors, network_row
from skipway.errors import SkipwayError
from skipway.hardware import Hardware, ShapesOnly
from skipway.models.analysis.paper_results import ONE_CROP, PUBLISHED, Result
from skipway.reporting.numbers import MISSING, format_bytes, format_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

ROUNDS = 5
SHORTEST = 0.2  # seconds that a network's turn takes at least

# ---------------------------------------------------------------------------------------------------------------------
# Measuring


def compare(names: Sequence[str], hardware: Hardware | None = None, batch: int = 16) -> list[dict[str, Any]]:
    """A row for each network: `network_row` and, measured on `hardware`, `images_per_second` and `peak_bytes`.

    Without `hardware` nothing is measured, and both are None. Raises SkipwayError for an unknown name.
    """
    require_names(names)
    rows = [network_row(name) for name in names]
    peaks = {name: peak_memory(name, hardware, batch) if hardware else None for name in names}
    speeds = throughput(names, hardware, batch) if hardware else dict.fromkeys(names)
    return [row | {"images_per_second": speeds[row["name"]], "peak_bytes": peaks[row["name"]]} for row in rows]


def require_names(names: Sequence[str]) -> None:
    """Raises SkipwayError for a name that is unknown or given twice."""
    for name, count in Counter(names).items():
        models.require_name(name)
        if count > 1:
            raise SkipwayError(f"{name} is named twice: once is enough")


def throughput(names: Sequence[str], hardware: Hardware, batch: int) -> dict[str, float]:
    """Images per second of each network."""
    nets = {name: hardware.place(models.build(name).eval()) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(1 + ROUNDS):
        for name, net in nets.items():
            seconds[name].append(seconds_of(net, PUBLISHED[name].size, hardware, batch))
    return {name: batch / statistics.median(taken[1:]) for name, taken in seconds.items()}  # the first warms up


def seconds_of(net: nn.Module, size: int, hardware: Hardware, batch: int) -> float:
    """Seconds that a batch of images takes, over as many as fill the shortest turn."""
    images = hardware.place_images(torch.randn(batch, 3, size, size))
    count, started = 0, time.perf_counter()
    with torch.inference_mode(), hardware.autocast():
        while count == 0 or time.perf_counter() - started < SHORTEST:
            net(images).sum().item()  # waits for the device
            count += 1
    return (time.perf_counter() - started) / count


def peak_memory(name: str, hardware: Hardware, batch: int) -> int | None:
    """Bytes; None on a device that does not tell."""
    if hardware.device.type == "cpu":
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
            return fresh.submit(resident_peak, name, hardware, batch).result()
    if hardware.device.type != "cuda":
        return None
    before = torch.cuda.memory_allocated(hardware.device)
    torch.cuda.reset_peak_memory_stats(hardware.device)
    net = hardware.place(models.build(name).eval())
    seconds_of(net, PUBLISHED[name].size, hardware, batch)
    peak = torch.cuda.max_memory_allocated(hardware.device) - before
    del net
    gc.collect()
    return peak


def resident_peak(name: str, hardware: Hardware, batch: int) -> int:
    """Bytes by which building `name` and answering one batch raise the peak of this process, a fresh one."""
    torch.set_num_threads(hardware.threads)
    with ShapesOnly():
        models.build(name)  # what Python and torch import on the way is not the network's
    before = resident(afresh=True)
    net = hardware.place(models.build(name).eval())
    images = hardware.place_images(torch.randn(batch, 3, PUBLISHED[name].size, PUBLISHED[name].size))
    with torch.inference_mode(), hardware.autocast():
        net(images)
    return resident() - before


def resident(afresh: bool = False) -> int:
    """The largest size in bytes that this process had, on Linux since it was last asked to begin `afresh`.

    Linux's getrusage will not do: a process begins with its parent's peak there.
    """
    status = Path("/proc/self/status")
    if status.exists():
        if afresh:
            Path("/proc/self/clear_refs").write_text("5")
        return 1024 * int(re.findall(r"VmHWM:\s*(\d+) kB", status.read_text())[0])
    import resource  # here, since Windows has none

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def settings(hardware: Hardware, batch: int) -> dict[str, Any]:
    """What was measured on and how, in words."""
    how = "the process's peak" if hardware.device.type == "cpu" else "the allocator's peak"
    return {**hardware.summary(), "batch": batch, "compile": "off", "rounds": ROUNDS, "memory": how}


def print_comparison(rows: Sequence[dict[str, Any]], measured: dict[str, Any] | None, console: Console) -> None:
    """`compare` as a table, and below it what was measured how."""
    table = Table(box=None, pad_edge=False)
    table.add_column("name", no_wrap=True)
    for heading in ("depth", "params", "mult-\nadds"):
        table.add_column(heading, justify="right", no_wrap=heading != "mult-\nadds")
    table.add_column("error %", no_wrap=True)
    for heading in ("images/s", "memory") if measured else ():
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(row["name"], str(row["depth"]), *costs(row), errors(row), *(found(row) if measured else ()))
    console.print(table)
    tests = {row["test"] for row in rows if row["test"]}
    console.print(
        "; ".join(["error: published top-1/top-5", *(f"{MARKS[t]} {t}".strip() for t in MARKS if t in tests)])
    )
    if measured:
        where = (
            f"{measured['device']}, {measured['threads']} threads, {measured['precision']}, {measured['memory format']}"
        )
        console.print(
            f"images/s: inference of batches of {measured['batch']}, median of {measured['rounds']} rounds in turn; "
            f"memory: {measured['memory']}, weights and one batch. {where}"
        )


def found(row: dict[str, Any]) -> tuple[str, str]:
    """Images per second and peak memory, with three digits."""
    speed, peak = row["images_per_second"], row["peak_bytes"]
    return f"{speed:.3g}" if speed < 1000 else f"{speed:,.0f}", MISSING if peak is None else format_bytes(peak)


# ---------------------------------------------------------------------------------------------------------------------
# Picture


def plot(points: Sequence[dict[str, Any]]) -> bytes:
    """A PNG of published accuracy against multiply-adds of `points_of`; a disc's area is the parameters."""
    import matplotlib
    from matplotlib.figure import Figure

    style: dict[Any, Any] = {"font.sans-serif": ["DejaVu Sans"], "font.size": 10, "axes.edgecolor": "#8a9099"}
    with matplotlib.rc_context(style):
        figure = Figure(figsize=(8, 5.2), dpi=160, layout="constrained", facecolor="white")
        axes = figure.subplots()
        draw(axes, points)
        figure.draw_without_rendering()
        label(axes, points)
        file = BytesIO()
        figure.savefig(file, format="png")
    return file.getvalue()


def points_of(names: Sequence[str]) -> list[dict[str, Any]]:
    """name, paper, multiply_adds, parameters, accuracy and test of each network that was judged by the common test.

    That is the one that most of the networks share; raises SkipwayError where there is none.
    """
    require_names(names)
    tests = Counter(test for name in names for test in {r.test for r in PUBLISHED[name].results if r.top1 is not None})
    if not tests:
        raise SkipwayError(f"nothing to plot: no top-1 error was published of {', '.join(names)}")
    test = max(tests, key=lambda t: (tests[t], t == ONE_CROP))
    points = []
    for name in names:
        result = next((r for r in PUBLISHED[name].results if r.test == test and r.top1 is not None), None)
        if result is not None:
            points.append(point(name, result))
    return points


def point(name: str, result: Result) -> dict[str, Any]:
    row = network_row(name)
    assert result.top1 is not None
    kept = {key: row[key] for key in ("name", "paper", "multiply_adds", "parameters")}
    return {**kept, "accuracy": 100 - result.top1, "test": result.test}


# Okabe and Ito's, which people who see fewer colours tell apart; every disc is named besides.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5f6670", "#1c1f23")


def draw(axes: "Axes", points: Sequence[dict[str, Any]]) -> None:
    """The discs, a colour for each paper."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    papers = list(dict.fromkeys(point["paper"] for point in points))
    largest = max(point["parameters"] for point in points)
    for i, paper in enumerate(papers):
        own = [point for point in points if point["paper"] == paper]
        axes.scatter(
            [point["multiply_adds"] for point in own],
            [point["accuracy"] for point in own],
            s=[area(point, largest) for point in own],
            color=COLOURS[i % len(COLOURS)],
            alpha=0.55,
            linewidth=0.8,
            edgecolor="white",
            label=paper,
        )
    axes.set_xscale("log")
    axes.margins(x=0.18, y=0.14)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e9:g} G"))
    axes.set_xlabel("multiply-adds of one image")
    axes.set_ylabel(f"published top-1 accuracy (%), {points[0]['test']}")
    axes.grid(color="#e3e5e8", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    legend = axes.legend(frameon=False, loc="best", title=f"area: parameters, at most {format_count(largest)}")
    for handle in legend.legend_handles:
        handle.set_sizes([60])  # type: ignore[union-attr]


def area(point: dict[str, Any], largest: int) -> float:
    """Of a disc, in square points; none too small to be seen."""
    return max(16.0, 900 * point["parameters"] / largest)


def label(axes: "Axes", points: Sequence[dict[str, Any]]) -> None:
    """Names beside the discs, each at the first of several places that is free, with a line where it is far."""
    taken: list[Bbox] = []
    legend = axes.get_legend()
    if legend is not None:
        taken.append(legend.get_window_extent())
    largest = max(point["parameters"] for point in points)
    radii = {point["name"]: (area(point, largest) / math.pi) ** 0.5 for point in points}
    taken += [middle(axes, point, radii[point["name"]]) for point in points]
    for point in sorted(points, key=lambda p: -p["accuracy"]):
        written = [place(axes, point, *spot) for spot in spots(radii[point["name"]])]
        boxes = [text.get_window_extent() for text in written]
        free = [i for i, box in enumerate(boxes) if not any(box.overlaps(other) for other in taken)]
        chosen = free[0] if free else len(written) - 1
        for i, text in enumerate(written):
            if i != chosen:
                text.remove()
        taken.append(boxes[chosen])


def spots(radius: float) -> list[tuple[float, float]]:
    """Offsets in points from the middle of a disc, near ones first; to the right, to the left, above and below."""
    directions = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8))
    return [
        (x * far, y * far) for beyond in (3, 9, 17, 28, 42, 60) for far in (radius + beyond,) for x, y in directions
    ]


def middle(axes: "Axes", point: dict[str, Any], radius: float) -> "Bbox":
    """The inner part of a disc, which no name may cover."""
    from matplotlib.transforms import Bbox

    x, y = axes.transData.transform((point["multiply_adds"], point["accuracy"]))
    half = 0.7 * radius * axes.figure.dpi / 72
    return Bbox.from_bounds(x - half, y - half, 2 * half, 2 * half)


def place(axes: "Axes", point: dict[str, Any], x: float, y: float) -> "Annotation":
    far = max(abs(x), abs(y)) > 24
    return axes.annotate(
        point["name"],
        (point["multiply_adds"], point["accuracy"]),
        xytext=(x, y),
        textcoords="offset points",
        ha="left" if x > 0 else "right" if x < 0 else "center",
        va="bottom" if y > 0 else "top" if y < 0 else "center",
        fontsize=8.5,
        arrowprops={"arrowstyle": "-", "color": "#8a9099", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2}
        if far
        else None,
    )
