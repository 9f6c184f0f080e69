"""What can go wrong inside a run, and what is said and kept of it."""

import shlex
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from skipway.data.loader import Order
from skipway.data.source import Split
from skipway.errors import SkipwayError
from skipway.training.checkpoint import Checkpoint
from skipway.training.keeping import checkpoints, write_for_a_look

NAMED = 5  # images of a batch that a message names; the file beside the state names all
ALLOCATOR = "DefaultCPUAllocator"


class NotFinite(SkipwayError):  # noqa: N818  # named for what was found
    """A loss or a weight that is no number any more. `found` says which and when; the message also what to do."""

    def __init__(self, found: str, more: str) -> None:
        super().__init__(found, more)
        self.found = found

    def __str__(self) -> str:
        return ", ".join(self.args)


def out_of_memory(fault: BaseException) -> bool:
    """Whether torch says that the device, or the machine, has no memory left."""
    return isinstance(fault, torch.OutOfMemoryError) or (isinstance(fault, RuntimeError) and ALLOCATOR in str(fault))


def peer_lost(fault: BaseException) -> bool:
    """Whether torch says that another process cannot be reached any more."""
    return isinstance(fault, dist.DistError) or (isinstance(fault, RuntimeError) and "gloo" in str(fault))


def continuing(out: Path) -> str:
    """The command that goes on with the run in `out`."""
    return shlex.join(["skipway", "train", "--resume", str(out)])


def names_in(order: Order, split: Split, step: int) -> list[str]:
    """The images of the batch of `step`, counted from 0 over the whole run."""
    epoch, place = divmod(step, order.steps)
    picked = next(islice(order.whole(epoch, place), 1))
    return [split.names[i] for i in picked.tolist()]


def not_finite(
    what: str, step: int, names: list[str], state: Checkpoint | None, losses: list[float], out: Path, lr: float
) -> NotFinite:
    """The fault of a run in `out` whose `what` was no number at `step` (from 0), a batch of images called `names`.

    `state`, as it is now, is written for a look where no run goes on from; None: another process does so.
    """
    folder = out / "faults" / f"step-{step + 1:08d}"
    about: dict[str, Any] = {"step": step + 1, "what": what, "images": names, "losses": [str(loss) for loss in losses]}
    kept = state is not None and write_for_a_look(folder, state, about)
    some = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
    good = checkpoints(out)
    after = f"the last good checkpoint is {good[0].name}: " if good else "there is no checkpoint yet: "
    mend = f"mend what is wrong and {continuing(out)}, or with a lower --lr (now {lr:g})"
    where = f"; the state and all names are in {folder}" if kept else ""
    return NotFinite(f"{what} was no longer a number in step {step + 1:,}", f"of images {some}{where}; {after}{mend}")
