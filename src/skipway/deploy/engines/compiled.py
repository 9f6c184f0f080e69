"""torch.compile of the folded network. Compiling takes a minute and a C++ compiler, or Triton on a GPU."""

import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from skipway.deploy.contract import (
    Engine,
    EngineMissingError,
    Kind,
    Options,
    Trained,
    at_once,
    filled,
    usual_batch,
)
from skipway.deploy.engines.folded import variants
from skipway.deploy.graph import captured, fold_batch_norm
from skipway.errors import first_line
from skipway.hardware import Hardware, decide

REHEARSAL = "import sys; from skipway.deploy.engines.compiled import rehearsal; rehearsal(*sys.argv[1:])"


def compiled(program: ExportedProgram, hardware: Hardware, precision: str, batch: int) -> Callable[[Tensor], Tensor]:
    """`program` folded and compiled: at most `batch` uint8 images to scores, on the CPU both."""
    net = torch.compile(hardware.place(fold_batch_norm(program)), dynamic=False)
    dtype = getattr(torch, precision)

    @torch.no_grad()  # tensors made in inference mode would have the compiled code checked anew
    def run(images: Tensor) -> Tensor:
        placed = hardware.place_images(filled(images, batch))
        with torch.autocast(hardware.device.type, dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            return net(placed)[: len(images)].float().cpu()

    return run


def build(trained: Trained, options: Options) -> Engine:
    """Options: precision, "float32" or "bfloat16". Raises EngineMissingError where it does not compile."""
    precision = str(options["precision"])
    batch = usual_batch(trained.goal, trained.hardware.device)
    run = compiled(captured(trained), trained.hardware, precision, batch)
    try:
        run(trained.example(batch))
    except Exception as fault:  # of any library between here and the compiler
        raise EngineMissingError(f"compile: torch.compile failed ({first_line(fault)})") from fault
    return Engine("compile", precision, options, batch, 1, at_once(run))


def rehearse(trained: Trained, options: Options) -> None:
    """`build` in a process of its own, because code that is made on the spot may crash and Python cannot catch that.

    What the compiler makes is kept in its cache, so that the second time is short. Raises EngineMissingError.
    """
    batch = usual_batch(trained.goal, trained.hardware.device)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "network.pt2")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on tensors that share memory; of this file only the operations count
            torch.export.save(captured(trained), file)
        settings = [str(file), str(trained.hardware.device), str(options["precision"]), str(batch)]
        settings += [str(side) for side in trained.example(1).shape[1:]]
        ended = subprocess.run([sys.executable, "-c", REHEARSAL, *settings], capture_output=True, text=True)
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise EngineMissingError(f"compile: a trial in a process of its own ended with {ended.returncode} ({last})")


def rehearsal(file: str, device: str, precision: str, batch: str, *shape: str) -> None:
    """The trial that `rehearse` starts."""
    run = compiled(torch.export.load(file), decide(device), precision, int(batch))
    run(torch.zeros((int(batch), *map(int, shape)), dtype=torch.uint8))


KIND = Kind(build, variants, rehearse)
