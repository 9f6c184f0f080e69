"""What is wrong with the machine of a copy (forked.py): each is called in it, before its command."""

import ctypes
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

Condition = Callable[[], None]
FILES = 200  # of a small disk, at most
NEW_MOUNTS = 0x00020000  # CLONE_NEWNS of unshare(2)


def nothing() -> None:
    """As it should be."""


def all_of(*conditions: Condition) -> Condition:
    def apply() -> None:
        for condition in conditions:
            condition()

    return apply


def limited(kind: int, value: int) -> Condition:
    """At most `value` of a resource."""
    return lambda: resource.setrlimit(kind, (value, value))


def memory_left(megabytes: int) -> Condition:
    """So much address space beyond what the copy has."""

    def apply() -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * os.sysconf("SC_PAGE_SIZE") + (megabytes << 20)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    return apply


def environment(**values: str) -> Condition:
    """These variables; what Python remembers of $TMPDIR is forgotten."""

    def apply() -> None:
        os.environ.update(values)
        tempfile.tempdir = None

    return apply


def closed(descriptor: int) -> Condition:
    return lambda: os.close(descriptor)


def sent_to(path: Path, *descriptors: int) -> Condition:
    """Output, or errors, to a file or device."""

    def apply() -> None:
        opened = os.open(path, os.O_WRONLY | os.O_APPEND)
        for descriptor in descriptors:
            os.dup2(opened, descriptor)

    return apply


def clock_jumps(seconds: float, after: float) -> Condition:
    """The wall clock is `seconds` off from `after` seconds on. The monotonic clock never jumps."""

    def apply() -> None:
        true, began = time.time, time.monotonic()
        time.time = lambda: true() + (seconds if time.monotonic() - began > after else 0.0)

    return apply


def may_mount() -> bool:
    """Whether this process may mount."""
    if os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as name:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", name], capture_output=True)
        if done.returncode == 0:
            subprocess.run(["umount", name], check=True)
    return done.returncode == 0


def own_mounts(*arguments: str) -> Condition:
    """`mount ARGUMENTS` for the copy alone."""

    def apply() -> None:
        if ctypes.CDLL(None, use_errno=True).unshare(NEW_MOUNTS):
            raise OSError(ctypes.get_errno(), "unshare")
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        subprocess.run(["mount", *arguments], check=True)

    return apply


class SmallDisk:
    """A disk of its own in memory, that can be filled and emptied; in a context."""

    def __init__(self, folder: Path, megabytes: int) -> None:
        self.folder, self.ballast = folder, folder / "ballast"
        self.options = f"size={megabytes}m,nr_inodes={FILES}"

    def __enter__(self) -> "SmallDisk":
        self.folder.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", self.options, "tmpfs", str(self.folder)], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)

    def fill(self, left: int = 0) -> None:
        """Leave `left` bytes free."""
        with self.ballast.open("wb") as stream:
            free = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize
            for _ in range(0, max(0, free - left), 1 << 16):
                try:
                    stream.write(bytes(1 << 16))
                    stream.flush()
                except OSError:
                    break

    def empty(self) -> None:
        self.ballast.unlink()

    def fill_names(self) -> None:
        """Leave room for no further file, however much there is for bytes."""
        with suppress(OSError):
            for i in range(FILES):
                (self.folder / f"ballast{i}").touch()

    def empty_names(self) -> None:
        for file in self.folder.glob("ballast*"):
            file.unlink()
