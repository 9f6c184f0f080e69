"""torch.compile of the folded network. Compiling takes a minute and a C++ compiler, or Triton on a GPU."""

import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
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


def rehearse(trained: Trained, options: Options, images: Tensor) -> Tensor:
    """The scores of `images` by a build in a process of its own: code that is made on the spot may crash, and Python
    cannot catch that.

    What the compiler makes is kept in its cache, so that the second time is short. Raises EngineMissingError.
    """
    batch = usual_batch(trained.goal, trained.hardware.device)
    with tempfile.TemporaryDirectory() as folder:
        network, fed, found = (Path(folder, name) for name in ("network.pt2", "images", "scores"))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on tensors that share memory; the file is read by this version alone
            torch.export.save(captured(trained), network)
        save_file({"images": images[:batch].contiguous()}, fed)
        settings = [network, trained.hardware.device, options["precision"], batch, fed, found]
        ended = subprocess.run([sys.executable, "-c", REHEARSAL, *map(str, settings)], capture_output=True, text=True)
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
            raise EngineMissingError(f"compile: a trial in a process of its own ended with {ended.returncode} ({last})")
        return load_file(found)["scores"]


def rehearsal(network: str, device: str, precision: str, batch: str, fed: str, found: str) -> None:
    """The trial that `rehearse` starts."""
    run = compiled(torch.export.load(network), decide(device), precision, int(batch))
    save_file({"scores": run(load_file(fed)["images"])}, found)


KIND = Kind(build, variants, rehearse)
