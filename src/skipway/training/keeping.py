"""Checkpoints on disk: written in a thread, whole or not at all, checked when read, and the old ones taken away.

    checkpoints/epoch-0003-step-00000417/     epochs done, steps done
        state.safetensors                     every tensor
        state.json                            every plain value
        SHA256SUMS                            checksums of the two, in the form `sha256sum -c` takes

A folder is filled and flushed under a name that begins with a dot, and then renamed. The newest two are kept, and the
one of the best figure on val.
"""

import errno
import fcntl
import json
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.console import Console
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from skipway.bundle import SUMS, sha256, stage, to_json
from skipway.errors import BundleError, first_line
from skipway.training.checkpoint import Checkpoint
from skipway.training.upkeep import Upkeep

FOLDER = "checkpoints"
TENSORS, STATE, LOCK = "state.safetensors", "state.json", "lock"
NAME = re.compile(r"epoch-(\d{1,9})-step-(\d{1,12})", re.ASCII)
SCHEMA = 2
KEPT = 2  # the newest
LARGEST = 1 << 28  # bytes of state.json; a line an epoch is far below it


def name_of(epochs: int, step: int) -> str:
    return f"epoch-{epochs:04d}-step-{step:08d}"


def checkpoints(run: Path) -> list[Path]:
    """The run's checkpoints, the newest first, whole or not."""
    found = [(NAME.fullmatch(folder.name), folder) for folder in (run / FOLDER).glob("epoch-*") if folder.is_dir()]
    placed = [(int(match[1]), int(match[2]), folder) for match, folder in found if match]
    return [folder for _, _, folder in sorted(placed, reverse=True)]


def claim(folder: Path) -> int:
    """A descriptor that keeps `folder` for this process until it is closed or the process ends, however it does.

    A record lock, since the children of this process must not hold it. Raises BundleError while another process does.
    """
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        if fault.errno in (errno.EACCES, errno.EAGAIN):  # any other: the file system knows no locks
            holder = os.read(descriptor, 20).decode(errors="replace")
            os.close(descriptor)
            raise BundleError(f"process {holder} trains in {folder.parent}: wait until it is done, or end it") from None
    with suppress(OSError):  # a full disk
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def flush(path: Path) -> None:
    """Have what the system holds of a file or folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """`checkpoint`, whose tensors are contiguous, as `folder`: all of it or nothing. Raises OSError."""
    folder.parent.mkdir(exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        save_file(checkpoint.tensors, staged / TENSORS)
        (staged / STATE).write_bytes(to_json(checkpoint.state))
        (staged / SUMS).write_text("".join(f"{sha256(staged / name)}  {name}\n" for name in (TENSORS, STATE)))
        for name in (TENSORS, STATE, SUMS, "."):
            flush(staged / name)
        if folder.exists():  # of a run that went back to an older one
            folder.rename(staged / "replaced")
        staged.rename(folder)
        flush(folder.parent)
        shutil.rmtree(folder / "replaced", ignore_errors=True)
    except SafetensorError as fault:  # how it says that the disk is full
        raise OSError(first_line(fault)) from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def read(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`. Raises BundleError for one that is incomplete, changed or of another version."""
    try:
        sums = (folder / SUMS).read_text() if (folder / SUMS).is_file() else ""
        for name in (TENSORS, STATE):
            if not (folder / name).is_file():
                raise BundleError(f"{name} is missing")
            if f"{sha256(folder / name)}  {name}\n" not in sums:
                raise BundleError(f"{name} is not as it was written: its checksum differs")
        return Checkpoint(load_file(folder / TENSORS), state_in((folder / STATE).read_bytes()))
    except (SafetensorError, OSError, ValueError, KeyError, RecursionError) as fault:
        raise BundleError(f"it cannot be read: {first_line(fault)}") from None


def state_in(content: bytes) -> dict[str, Any]:
    """The plain values of a checkpoint. Raises BundleError where any is of another kind than it is written with."""
    if len(content) > LARGEST:
        raise BundleError(f"{STATE} has {len(content):,} bytes")
    state = json.loads(content)
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise BundleError(f"{STATE} is of another version of skipway")
    wrong = [name for name, fits in FITS.items() if not fits(state.get(name))]
    if wrong:
        raise BundleError(f"{STATE} holds no {wrong[0]} that could be")
    return state


def is_fields(value: Any) -> bool:
    return isinstance(value, dict)


def is_count(value: Any) -> bool:
    return type(value) is int and value >= 0


def is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def is_sums(value: Any) -> bool:
    """Whether `value` is the sums of an unfinished epoch: finite numbers, and a count."""
    if not isinstance(value, dict) or not is_count(value.get("steps")):
        return False
    return all(is_number(value.get(name)) for name in ("loss", "seconds", "waited", "spent"))


def is_records(value: Any) -> bool:
    """Whether `value` is a list of epochs' records: figures by name, which on val may be no number, and its step."""
    return isinstance(value, list) and all(
        isinstance(record, dict)
        and all(type(v) in (int, float) for v in record.values())
        and is_count(record.get("epoch"))
        and is_count(record.get("step"))
        for record in value
    )


FITS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("recipe", "network", "code", "hardware"), is_fields),
    **dict.fromkeys(("step", "micro"), is_count),
    "data": lambda value: isinstance(value, str),
    "sums": is_sums,
    "records": is_records,
}


def newest(run: Path, console: Console) -> tuple[Path, Checkpoint] | None:
    """The run's newest whole checkpoint; a damaged newer one is said. None where there is no checkpoint at all.

    Raises BundleError when there are some, and none is whole.
    """
    found = checkpoints(run)
    for folder in found:
        try:
            return folder, read(folder)
        except BundleError as fault:
            console.print(f"{folder} is damaged ({fault}): the one before it is used", soft_wrap=True, markup=False)
    if found:
        raise BundleError(f"{run / FOLDER} holds no checkpoint that is whole: start anew, or restore it from a copy")
    return None


def copied(checkpoint: Checkpoint) -> Checkpoint:
    """`checkpoint` in memory of its own on the CPU, each tensor in the order in which it is written.

    So the thread that writes has nothing to compute: torch would give it OpenMP threads of its own, and with more of
    them than cores none spins between two operations any more, which doubles the time of small training steps.
    """
    tensors = {k: torch.empty(v.shape, dtype=v.dtype).copy_(v.detach()) for k, v in checkpoint.tensors.items()}
    return Checkpoint(tensors, json.loads(json.dumps(checkpoint.state)))


class Keeper:
    """Writes a run's checkpoints, one at a time, while the run goes on. Leaving its context waits for the last one.

    One that cannot be written (a full disk) is said, and those that are there stay. While it lives, no other process
    can write into the same run.
    """

    def __init__(self, run: Path, console: Console, upkeep: Upkeep, writes: bool = True) -> None:
        """writes: whether this process is the one that does."""
        self.run, self.console, self.upkeep, self.writes = run, console, upkeep, writes
        self.pool = ThreadPoolExecutor(1, "checkpoints")
        self.under_way: Future[None] | None = None
        self.last: tuple[int, int] | None = None  # (epochs, step) of the last one begun
        self.began = time.monotonic()
        self.claimed: int | None = None

    def __enter__(self) -> "Keeper":
        if self.writes:
            self.claimed = claim(self.run / FOLDER)
            for left in (self.run / FOLDER).glob(".epoch-*"):  # by a run killed while it wrote
                shutil.rmtree(left, ignore_errors=True)
        return self

    def due(self, step: int) -> bool:
        """Whether a checkpoint should be written after `step`; by time, none while one is under way."""
        if not self.writes:
            return False
        if self.upkeep.checkpoint_steps:
            return step % self.upkeep.checkpoint_steps == 0
        return not self.busy and time.monotonic() - self.began >= self.upkeep.checkpoint_seconds

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wait()
        self.pool.shutdown()
        if self.claimed is not None:
            os.close(self.claimed)

    @property
    def busy(self) -> bool:
        return self.under_way is not None and not self.under_way.done()

    def wait(self) -> bool:
        """Wait for what is under way; returns whether it was written, and says why not."""
        if self.under_way is None:
            return True
        fault, self.under_way = self.under_way.exception(), None
        if fault is None:
            return True
        if not isinstance(fault, OSError):
            raise fault
        why = fault.strerror or first_line(fault)
        self.console.print(
            f"warning: a checkpoint could not be written ({why}); the run goes on, and those before it are whole",
            soft_wrap=True,
            markup=False,
        )
        return False

    def save(self, checkpoint: Checkpoint, best: tuple[int, int] | None) -> None:
        """Copy `checkpoint`, and have it written when the one before is; `best`: (epochs, step) of the best on val."""
        self.wait()
        self.began, self.last = time.monotonic(), (len(checkpoint.state["records"]), checkpoint.state["step"])
        if self.writes:
            self.under_way = self.pool.submit(self.write, copied(checkpoint), best)

    def write(self, checkpoint: Checkpoint, best: tuple[int, int] | None) -> None:
        """In the thread: `checkpoint` on disk, and then those away that are no longer kept."""
        folder = self.run / FOLDER / name_of(len(checkpoint.state["records"]), checkpoint.state["step"])
        write(folder, checkpoint)
        found = checkpoints(self.run)
        here = found.index(folder)  # what is before it was damaged, or the run would have gone on from there
        keep = {*found[here : here + KEPT], *([self.run / FOLDER / name_of(*best)] if best else [])}
        for old in found:
            if old not in keep:
                shutil.rmtree(old, ignore_errors=True)


def write_for_a_look(folder: Path, checkpoint: Checkpoint, about: dict[str, Any]) -> bool:
    """`checkpoint` and what there is to say `about` it, where no run goes on from; whether there was room."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(copied(checkpoint).tensors, folder / TENSORS)
        stage(folder / "batch.json", to_json(about)).replace(folder / "batch.json")
    except (OSError, SafetensorError):
        return False
    return True
