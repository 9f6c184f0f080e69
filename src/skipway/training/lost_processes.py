"""Names the processes of a group that have not started or are lost, while the others wait for them."""

import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from torch.distributed import Store  # type: ignore[attr-defined]  # not named in torch's list of exports

from skipway.errors import refuse_if

REMIND = 30.0  # seconds between two lines on the processes that have not started
# Seconds after which a process that waits for the others gives up, and its name in the environment. As long as torch's
# own: between two steps one process evaluates, and the others wait.
GROUP_TIMEOUT, TIMEOUT_VARIABLE = 1800.0, "SKIPWAY_GROUP_TIMEOUT"
LEFT = "left"  # the entry of a process that has left the group


def entry(store: Store, key: str) -> str:
    """The value of `key`; empty where it is not set yet."""
    return store.get(key).decode() if store.check([key]) else ""


def ranks_text(ranks: Iterable[int], world: int) -> str:
    """The processes of these ranks, counted from 1, in words."""
    numbers = ", ".join(str(rank + 1) for rank in sorted(ranks))
    return f"process{'es' if ',' in numbers else ''} {numbers} of {world}"


def print_line(line: str) -> None:
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def group_timeout() -> float:
    """Seconds after which a process that waits for the others gives up. Raises SkipwayError for an invalid number."""
    text = os.environ.get(TIMEOUT_VARIABLE, str(GROUP_TIMEOUT))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    refuse_if(not 1 <= seconds <= 1e7, f"{TIMEOUT_VARIABLE} is {text}", "give the seconds, from 1 to 10,000,000")
    return seconds


@contextmanager
def name_lost_processes(store: Store, rank: int, world: int) -> Iterator[None]:
    """A context in which a thread prints, every REMIND seconds, which processes gave no sign of life for as long.

    Each process counts in the store; of those that are left, the first one prints. torch itself says nothing until
    the group's timeout. The store has a connection of its own, because a collective may be waiting in the other.
    """
    ended, own = threading.Event(), store.clone()
    thread = threading.Thread(target=print_lost, args=(own, rank, world, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(1.0)
        with suppress(RuntimeError):  # the store may be gone before
            store.set(f"alive/{rank}", LEFT)


def print_lost(store: Store, rank: int, world: int, ended: threading.Event) -> None:
    """The thread of `name_lost_processes`."""
    counts, changed, reminded = dict.fromkeys(range(world), ""), dict.fromkeys(range(world), time.monotonic()), 0.0
    while not ended.is_set():
        try:
            store.set(f"alive/{rank}", f"{secrets.token_hex(4)} {socket.gethostname()}")
            found = {i: entry(store, f"alive/{i}") for i in range(world)}
        except RuntimeError:  # the store is gone, as at the end of the process that holds it
            return
        now = time.monotonic()
        for i, count in found.items():
            changed[i] = now if count != counts[i] or count == LEFT else changed[i]
        counts, lost = found, [i for i in range(world) if now - changed[i] > REMIND]
        if lost and now - reminded > REMIND and set(range(rank)) <= set(lost):
            reminded, hosts = now, {counts[i].partition(" ")[2] for i in lost} - {""}
            on = f" on {', '.join(sorted(hosts))}" if hosts else ""
            print_line(
                f"no sign of {ranks_text(lost, world)}{on} for {now - max(changed[i] for i in lost):.0f} s; a step "
                f"that waits for it ends after {group_timeout():g} s (--group-timeout)"
            )
        ended.wait(REMIND / 3)
