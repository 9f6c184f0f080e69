"""Checkpoints on disk, written atomically in a thread and verified when read.

    checkpoints/epoch-0003-step-00000417/     epochs done, steps done
        state.safetensors                     every tensor
        state.json                            every plain value
        SHA256SUMS                            checksums of the two, in the form `sha256sum -c` takes

A folder is written and flushed under a name that starts with a dot, and then renamed. The newest two are kept, and the
one with the best figure on val.
"""

import errno
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
from skipway.training.run_manifest import RunOptions
from skipway.training.state_codec import Checkpoint

try:
    import fcntl
except ImportError:  # Windows, where two trainings in one folder are not noticed
    fcntl = None  # type: ignore[assignment]

FOLDER = "checkpoints"
TENSORS, STATE, LOCK = "state.safetensors", "state.json", "lock"
NAME = re.compile(r"epoch-(\d{1,9})-step-(\d{1,12})", re.ASCII)
SCHEMA = 2
NEWEST_KEPT = 2  # checkpoints
LARGEST = 1 << 28  # bytes of state.json; one line per epoch stays far below


def name_of(epochs: int, step: int) -> str:
    return f"epoch-{epochs:04d}-step-{step:08d}"


def checkpoints(run: Path) -> list[Path]:
    """The run's checkpoints, the newest first, intact or not."""
    found = [(NAME.fullmatch(folder.name), folder) for folder in (run / FOLDER).glob("epoch-*") if folder.is_dir()]
    placed = [(int(match[1]), int(match[2]), folder) for match, folder in found if match]
    return [folder for _, _, folder in sorted(placed, reverse=True)]


def lock_folder(folder: Path) -> int:
    """A descriptor that locks `folder` for this process until it is closed or the process ends in any way.

    A record lock, which child processes do not inherit. Raises BundleError while another process holds it.
    """
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if fcntl:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):  # any other: the file system has no locks
            holder = os.read(descriptor, 20).decode(errors="replace")
            os.close(descriptor)
            message = f"process {holder} is training in {folder.parent}: wait until it has finished, or stop it"
            raise BundleError(message) from None
    with suppress(OSError):  # a full disk
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
    return descriptor


def fsync(path: Path) -> None:
    """Flush a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `checkpoint`, whose tensors are contiguous, to `folder` atomically. Raises OSError."""
    folder.parent.mkdir(exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        save_file(checkpoint.tensors, staged / TENSORS)
        (staged / STATE).write_bytes(to_json(checkpoint.state))
        (staged / SUMS).write_text("".join(f"{sha256(staged / name)}  {name}\n" for name in (TENSORS, STATE)))
        for name in (TENSORS, STATE, SUMS, "."):
            fsync(staged / name)
        if folder.exists():  # written before by a run that resumed from an older one
            folder.rename(staged / "replaced")
        staged.rename(folder)
        fsync(folder.parent)
        shutil.rmtree(folder / "replaced", ignore_errors=True)
    except SafetensorError as error:  # raised for a full disk
        raise OSError(first_line(error)) from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def remove(folder: Path) -> None:
    """Delete a checkpoint. It loses its name first, so that a process killed meanwhile leaves no part of one."""
    gone = folder.with_name(f".{folder.name}.old")
    with suppress(OSError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def read(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`. Raises BundleError for one that is incomplete, changed or of another version."""
    try:
        sums = (folder / SUMS).read_text() if (folder / SUMS).is_file() else ""
        for name in (TENSORS, STATE):
            if not (folder / name).is_file():
                raise BundleError(f"{name} is missing")
            if f"{sha256(folder / name)}  {name}\n" not in sums:
                raise BundleError(f"{name} was changed since it was written (checksum differs)")
        return Checkpoint(load_file(folder / TENSORS), state_in((folder / STATE).read_bytes()))
    except (SafetensorError, OSError, ValueError, KeyError, RecursionError) as error:
        raise BundleError(f"it cannot be read: {first_line(error)}") from None


def state_in(content: bytes) -> dict[str, Any]:
    """The plain values of a checkpoint. Raises BundleError where one has the wrong type."""
    if len(content) > LARGEST:
        raise BundleError(f"{STATE} has {len(content):,} bytes")
    state = json.loads(content)
    if not isinstance(state, dict) or state.get("schema") != SCHEMA:
        raise BundleError(f"{STATE} was written by another version of skipway")
    wrong = [name for name, is_valid in VALIDATORS.items() if not is_valid(state.get(name))]
    if wrong:
        raise BundleError(f"{STATE} has no valid {wrong[0]}")
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
    """Whether `value` is a list of epochs' records: figures by name, which on val may be NaN, and its step."""
    return isinstance(value, list) and all(
        isinstance(record, dict)
        and all(type(v) in (int, float) for v in record.values())
        and is_count(record.get("epoch"))
        and is_count(record.get("step"))
        for record in value
    )


VALIDATORS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("recipe", "network", "code", "hardware"), is_fields),
    **dict.fromkeys(("step", "micro"), is_count),
    "data": lambda value: isinstance(value, str),
    "sums": is_sums,
    "records": is_records,
}


def newest(run: Path, console: Console) -> tuple[Path, Checkpoint] | None:
    """The run's newest intact checkpoint; damaged newer ones are reported. None where there is no checkpoint at all.

    Raises BundleError when there are some, and none is intact.
    """
    found = checkpoints(run)
    for folder in found:
        try:
            return folder, read(folder)
        except BundleError as error:
            console.print(f"{folder} is damaged ({error}): the one before it is used", soft_wrap=True, markup=False)
    if found:
        raise BundleError(f"{run / FOLDER} has no intact checkpoint: start a new run, or restore one from a copy")
    return None


def cpu_copy(checkpoint: Checkpoint) -> Checkpoint:
    """A copy of `checkpoint` on the CPU, each tensor contiguous, as it is written.

    So the writing thread has nothing to compute: torch would give it OpenMP threads of its own, and with more threads
    than cores none spins between two operations any more, which doubles the time of small training steps.
    """
    tensors = {k: torch.empty(v.shape, dtype=v.dtype).copy_(v.detach()) for k, v in checkpoint.tensors.items()}
    return Checkpoint(tensors, json.loads(json.dumps(checkpoint.state)))


class CheckpointManager:
    """Writes a run's checkpoints, one at a time, while the run continues. Leaving its context waits for the last one.

    A checkpoint that cannot be written (full disk) is reported, and earlier ones stay. While the context is open, no
    other process can write into the same run.
    """

    def __init__(self, run: Path, console: Console, options: RunOptions, writes: bool = True) -> None:
        """writes: whether this process is the one that writes."""
        self.run, self.console, self.options, self.writes = run, console, options, writes
        self.pool = ThreadPoolExecutor(1, "checkpoints")
        self.pending: Future[None] | None = None
        self.last: tuple[int, int] | None = None  # (epochs, step) of the last one started
        self.started = time.monotonic()
        self.lock: int | None = None

    def __enter__(self) -> "CheckpointManager":
        if self.writes:
            self.lock = lock_folder(self.run / FOLDER)
            for left in (self.run / FOLDER).glob(".epoch-*"):  # by a run killed while writing
                shutil.rmtree(left, ignore_errors=True)
        return self

    def due(self, step: int) -> bool:
        """Whether a checkpoint should be written after `step`; by time, none while one is being written."""
        if not self.writes:
            return False
        if self.options.checkpoint_steps:
            return step % self.options.checkpoint_steps == 0
        return not self.busy and time.monotonic() - self.started >= self.options.checkpoint_seconds

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wait()
        self.pool.shutdown()
        if self.lock is not None:
            os.close(self.lock)

    @property
    def busy(self) -> bool:
        return self.pending is not None and not self.pending.done()

    def wait(self) -> bool:
        """Wait for the pending write; returns whether it succeeded, and prints why not."""
        if self.pending is None:
            return True
        error, self.pending = self.pending.exception(), None
        if error is None:
            return True
        if not isinstance(error, OSError):
            raise error
        why = error.strerror or first_line(error)
        self.console.print(
            f"warning: a checkpoint could not be written ({why}); the run continues, and earlier ones are intact",
            soft_wrap=True,
            markup=False,
        )
        return False

    def save(self, checkpoint: Checkpoint, best: tuple[int, int] | None) -> None:
        """Copy `checkpoint` and write it after the previous one; `best`: (epochs, step) of the best on val."""
        self.wait()
        self.started, self.last = time.monotonic(), (len(checkpoint.state["records"]), checkpoint.state["step"])
        if self.writes:
            self.pending = self.pool.submit(self.write, cpu_copy(checkpoint), best)

    def write(self, checkpoint: Checkpoint, best: tuple[int, int] | None) -> None:
        """In the thread: write `checkpoint`, then delete those that are no longer kept."""
        folder = self.run / FOLDER / name_of(len(checkpoint.state["records"]), checkpoint.state["step"])
        write(folder, checkpoint)
        found = checkpoints(self.run)
        here = found.index(folder)  # newer ones are damaged, or the run would have resumed from them
        keep = {*found[here : here + NEWEST_KEPT], *([self.run / FOLDER / name_of(*best)] if best else [])}
        for old in found:
            if old not in keep:
                remove(old)


def write_failed_state(folder: Path, checkpoint: Checkpoint, about: dict[str, Any]) -> bool:
    """Write `checkpoint` and the values of `about` to `folder`, for inspection only; returns whether there was room."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(cpu_copy(checkpoint).tensors, folder / TENSORS)
        stage(folder / "batch.json", to_json(about)).replace(folder / "batch.json")
    except (OSError, SafetensorError):
        return False
    return True
