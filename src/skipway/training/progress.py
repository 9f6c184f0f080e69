"""Progress display of a run: a bar on a terminal, a line now and then elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from skipway.hardware import Hardware
from skipway.training.time_estimate import duration
from skipway.training.time_left import Clock

STATM, STATUS = Path("/proc/self/statm"), Path("/proc/self/status")
EVERY = 30.0  # seconds between two lines where there is no terminal
WIDE = 100  # columns of a terminal from which the bar is longer and shows the share of time spent waiting
LONG = 20 * 60  # seconds of a run on a CPU from which SHORTER is printed
SHORTER = "for a shorter run: a smaller --model or --size, or --budget 10m"


@dataclass(frozen=True)
class Status:
    """The progress of a run. `epoch` counts from 1; `loss`: the mean of the epoch so far, None: not known yet.

    `rate`: images a second; `waiting`: the share of time spent waiting for data; `left`: seconds to the end, None: not
    known yet; `validated`: images of val evaluated and of how many, during a validation.
    """

    epoch: int
    epochs: int
    step: int
    total: int
    loss: float | None
    rate: float
    waiting: float
    left: float | None
    validated: tuple[int, int] | None = None


Advance = Callable[[Status], None]


def memory_used(hardware: Hardware) -> int:
    """Bytes used by the run: of the GPU's memory or, on a CPU, of the machine's; 0 where unknown."""
    if hardware.device.type == "cuda":
        return torch.cuda.memory_reserved(hardware.device)
    if not STATM.is_file():
        return 0
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_memory(hardware: Hardware) -> int:
    """The peak of bytes used by the run so far: of the GPU's memory or, on a CPU, of the machine's."""
    if hardware.device.type == "cuda":
        return torch.cuda.max_memory_reserved(hardware.device)
    lines = STATUS.read_text().splitlines() if STATUS.is_file() else []
    peak = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    if peak is not None:  # getrusage also counts the process before it executed this program
        return int(peak) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak_size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_size if sys.platform == "darwin" else peak_size * 1024


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def time_estimate_message(left: float, step: int, total: int, peak: int, hardware: Hardware) -> str:
    """How long a run takes from `step` on, and how much memory; for a long one from 0, options that make it shorter.

    left: seconds; peak: bytes.
    """
    steps = f"{total - step:,} of {total:,} steps left" if step else f"{total:,} steps"
    text = f"about {duration(left)} ({steps}), {gigabytes(peak)}"
    return text if step or left <= LONG or hardware.device.type != "cpu" else f"{text}; {SHORTER}"


def status_line(status: Status, used: int) -> str:
    """`status` as a line; used: bytes of memory."""
    parts = [f"step {status.step:,} of {status.total:,}", f"epoch {status.epoch} of {status.epochs}"]
    if status.validated is not None:
        done, count = status.validated
        parts.append(f"validation, {done:,} of {count:,} images")
    else:
        parts += [] if status.loss is None else [f"loss {status.loss:.3f}"]
        parts.append(f"{status.rate:,.0f} images/s")
    parts += [] if status.left is None else [f"about {duration(status.left)} left"]
    return ", ".join([*parts, gigabytes(used)])


@contextmanager
def progress_line(console: Console, hardware: Hardware, clock: Clock = time.monotonic) -> Iterator[Advance]:
    """A function to call with the status after each step and each batch of val, which shows a bar or prints lines."""
    if not console.is_terminal:
        yield log_lines(console, hardware, clock)
        return
    wide = console.width >= WIDE
    columns = (
        TextColumn("{task.description}"),
        BarColumn(20 if wide else 10),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
        TextColumn("{task.fields[speed]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, left="", speed="", visible=False)

        def advance(status: Status) -> None:
            done, total = status.validated or (status.step, status.total)
            waiting = f"  waiting {100 * status.waiting:.1f} %" if wide else ""
            bar.update(
                task,
                description=f"{'val' if status.validated else 'epoch'} {status.epoch}/{status.epochs}",
                completed=done,
                total=total,
                left="" if status.left is None else f"{duration(status.left)} left",
                speed=f"{status.rate:,.0f} images/s{waiting}  {gigabytes(memory_used(hardware))}",
                visible=True,
            )

        yield advance


def log_lines(console: Console, hardware: Hardware, clock: Clock) -> Advance:
    """Prints a line where the next call may come later than EVERY seconds after the last line, an epoch's included."""
    printed = before = clock()
    epoch = 0

    def advance(status: Status) -> None:
        nonlocal printed, before, epoch
        now = clock()
        if status.epoch != epoch:  # the line of an epoch was printed
            printed, epoch = before, status.epoch
        if now - printed + (now - before) > EVERY:
            console.print(status_line(status, memory_used(hardware)), soft_wrap=True, markup=False)
            printed = now
        before = now

    return advance
