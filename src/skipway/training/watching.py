"""What is to be seen of a run while it goes: a line that moves, on a terminal and nowhere else."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from skipway.hardware import Hardware

Advance = Callable[[int, int, float, float], None]  # (epoch, steps done, images a second, share of time waiting)
HELD = Path("/proc/self/statm")


def memory_held(hardware: Hardware) -> int:
    """Bytes that the run holds: of the GPU's memory or, on a processor, of the machine's; 0 where none can tell."""
    if hardware.device.type == "cuda":
        return torch.cuda.memory_reserved(hardware.device)
    if not HELD.is_file():
        return 0
    return int(HELD.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def progress_line(console: Console, hardware: Hardware, done: int, total: int, epochs: int) -> Iterator[Advance]:
    """Steps done of all, the time left, images a second, the share of time spent waiting for data, and memory."""
    if not console.is_terminal:
        yield lambda *_: None
        return
    columns = (
        TextColumn("epoch {task.description}"),
        BarColumn(20),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("left  {task.fields[speed]}"),
    )
    with Progress(*columns, console=console, transient=True, speed_estimate_period=60) as progress:
        bar = progress.add_task("", total=total, completed=done, speed="")

        def advance(epoch: int, step: int, rate: float, waiting: float) -> None:
            held = memory_held(hardware) / 2**30
            speed = f"{rate:,.0f} images/s  waiting {100 * waiting:.1f} %  {held:.1f} GiB"
            progress.update(bar, description=f"{epoch + 1}/{epochs}", completed=step, speed=speed)

        yield advance
