"""torch.compile of the folded network. Compiling takes a minute and a C++ compiler, or Triton on a GPU."""

import torch
from torch import Tensor

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
from skipway.deploy.formats import quiet
from skipway.deploy.graph import captured, fold_batch_norm
from skipway.errors import first_line


def build(trained: Trained, options: Options) -> Engine:
    """Options: precision, "float32" or "bfloat16". Raises EngineMissingError where it does not compile."""
    hardware = trained.hardware
    batch = usual_batch(trained.goal, hardware.device)
    dtype = getattr(torch, str(options["precision"]))
    compiled = torch.compile(hardware.place(fold_batch_norm(captured(trained))), dynamic=False)

    @torch.no_grad()  # tensors made in inference mode would have the compiled code checked anew
    def run(images: Tensor) -> Tensor:
        placed = hardware.place_images(filled(images, batch))
        with torch.autocast(hardware.device.type, dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            return compiled(placed)[: len(images)].float().cpu()

    try:
        with quiet():
            run(trained.example(batch))
    except Exception as fault:  # of any library between here and the compiler
        raise EngineMissingError(f"compile: torch.compile failed ({first_line(fault)})") from fault
    return Engine("compile", str(options["precision"]), options, batch, 1, at_once(run))


KIND = Kind(build, variants)
