"""Detection of errors during a run, and their messages."""

import shlex
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from skipway.data.dataset import Split
from skipway.data.loader import BatchSampler
from skipway.errors import SkipwayError
from skipway.training.checkpoint_manager import checkpoints, write_failed_state
from skipway.training.state_codec import Checkpoint

NAMED = 5  # images of a batch named in a message; the file beside the state names all
# what torch's allocator, and oneDNN, which gives no reason, say when there is no memory
NO_MEMORY = ("DefaultCPUAllocator", "could not create a primitive")


class NonFiniteError(SkipwayError):
    """A loss or a weight is NaN or infinite. `found` says which and when; the message also what to do."""

    def __init__(self, found: str, more: str) -> None:
        super().__init__(found, more)
        self.found = found

    def __str__(self) -> str:
        return ", ".join(self.args)


def out_of_memory(error: BaseException) -> bool:
    """Whether torch reports that the device, or the machine, is out of memory."""
    said = isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY)
    return said or isinstance(error, torch.OutOfMemoryError)


def peer_lost(error: BaseException) -> bool:
    """Whether torch reports that another process cannot be reached any more."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def resume_command(out: Path) -> str:
    """The command that resumes the run in `out`."""
    return shlex.join(["skipway", "train", "--resume", str(out)])


def names_in(order: BatchSampler, split: Split, step: int) -> list[str]:
    """The names of the images in the batch of `step`, counted from 0 over the whole run."""
    epoch, start = divmod(step, order.steps)
    picked = next(islice(order.global_batches(epoch, start), 1))
    return [split.names[i] for i in picked.tolist()]


def make_nonfinite_error(
    what: str, step: int, names: list[str], state: Checkpoint | None, losses: list[float], out: Path, lr: float
) -> NonFiniteError:
    """The error of a run in `out` whose `what` is NaN or infinite at `step` (from 0), with a batch of images `names`.

    `state`, the current one, is written for inspection only; None: another process writes it.
    """
    folder = out / "faults" / f"step-{step + 1:08d}"
    about: dict[str, Any] = {"step": step + 1, "what": what, "images": names, "losses": [str(loss) for loss in losses]}
    written = state is not None and write_failed_state(folder, state, about)
    some = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED:,} more" if len(names) > NAMED else "")
    good = checkpoints(out)
    last = f"the last good checkpoint is {good[0].name}: " if good else "there is no checkpoint yet: "
    advice = f"fix the cause and run {resume_command(out)}, or add a lower --lr (now {lr:g})"
    where = f"; the state and all names are in {folder}" if written else ""
    return NonFiniteError(
        f"{what} became NaN or infinite in step {step + 1:,}", f"of images {some}{where}; {last}{advice}"
    )
