"""What is to be seen of a run while it goes: a bar that moves on a terminal, a line now and then elsewhere."""

import os
import resource
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
from skipway.training.estimate import duration
from skipway.training.pace import Clock

HELD, STATUS = Path("/proc/self/statm"), Path("/proc/self/status")
EVERY = 30.0  # seconds between two lines where there is no terminal
WIDE = 100  # columns of a terminal from which on the bar is longer and the share of time spent waiting is shown
LONG = 20 * 60  # seconds of a run on a processor, from which on it is said what makes it shorter
SHORTER = "for a shorter run: a smaller --model or --size, --budget 10m, or --recipe head"


@dataclass(frozen=True)
class Status:
    """Where a run stands. `epoch` counts from 1; `loss`: the mean of the epoch so far, None: not known yet.

    `rate`: images a second; `waiting`: the share of time spent waiting for data; `left`: seconds to the end, None: not
    known yet; `judged`: images of val judged and of how many, during a validation.
    """

    epoch: int
    epochs: int
    step: int
    total: int
    loss: float | None
    rate: float
    waiting: float
    left: float | None
    judged: tuple[int, int] | None = None


Advance = Callable[[Status], None]


def memory_held(hardware: Hardware) -> int:
    """Bytes that the run holds: of the GPU's memory or, on a processor, of the machine's; 0 where none can tell."""
    if hardware.device.type == "cuda":
        return torch.cuda.memory_reserved(hardware.device)
    if not HELD.is_file():
        return 0
    return int(HELD.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_memory(hardware: Hardware) -> int:
    """The most bytes that the run has held so far: of the GPU's memory or, on a processor, of the machine's."""
    if hardware.device.type == "cuda":
        return torch.cuda.max_memory_reserved(hardware.device)
    lines = STATUS.read_text().splitlines() if STATUS.is_file() else []
    peak = next((line.split()[1] for line in lines if line.startswith("VmHWM:")), None)
    if peak is not None:  # getrusage counts what the process was before it ran this program, too
        return int(peak) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def outlook(left: float, step: int, total: int, peak: int, hardware: Hardware) -> str:
    """How long a run takes from `step` on, and how much memory; for a long one from 0, what would make it shorter.

    left: seconds; peak: bytes.
    """
    steps = f"{total - step:,} of {total:,} steps left" if step else f"{total:,} steps"
    text = f"about {duration(left)} ({steps}), {gigabytes(peak)}"
    return text if step or left <= LONG or hardware.device.type != "cpu" else f"{text}; {SHORTER}"


def sentence(status: Status, held: int) -> str:
    """`status` as a line; held: bytes of memory."""
    parts = [f"step {status.step:,} of {status.total:,}", f"epoch {status.epoch} of {status.epochs}"]
    if status.judged is not None:
        done, count = status.judged
        parts.append(f"validation, {done:,} of {count:,} images")
    else:
        parts += [] if status.loss is None else [f"loss {status.loss:.3f}"]
        parts.append(f"{status.rate:,.0f} images/s")
    parts += [] if status.left is None else [f"about {duration(status.left)} left"]
    return ", ".join([*parts, gigabytes(held)])


@contextmanager
def progress_line(console: Console, hardware: Hardware, clock: Clock = time.monotonic) -> Iterator[Advance]:
    """What is to be told where the run stands, after each step and each batch of val: a bar, or lines."""
    if not console.is_terminal:
        yield lines(console, hardware, clock)
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
            done, total = status.judged or (status.step, status.total)
            waiting = f"  waiting {100 * status.waiting:.1f} %" if wide else ""
            bar.update(
                task,
                description=f"{'val' if status.judged else 'epoch'} {status.epoch}/{status.epochs}",
                completed=done,
                total=total,
                left="" if status.left is None else f"{duration(status.left)} left",
                speed=f"{status.rate:,.0f} images/s{waiting}  {gigabytes(memory_held(hardware))}",
                visible=True,
            )

        yield advance


def lines(console: Console, hardware: Hardware, clock: Clock) -> Advance:
    """Prints a line where the next chance might come later than EVERY seconds after the last line, an epoch's too."""
    said = before = clock()
    epoch = 0

    def advance(status: Status) -> None:
        nonlocal said, before, epoch
        now = clock()
        if status.epoch != epoch:  # the line of an epoch was printed
            said, epoch = before, status.epoch
        if now - said + (now - before) > EVERY:
            console.print(sentence(status, memory_held(hardware)), soft_wrap=True, markup=False)
            said = now
        before = now

    return advance
