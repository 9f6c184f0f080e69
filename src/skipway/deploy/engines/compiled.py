"""torch.compile of the folded network. Compiling takes a minute and a C++ compiler, or Triton on a GPU."""

import torch
from torch import Tensor

from skipway.deploy.engines.base import (
    Engine,
    EngineInput,
    EngineKind,
    EngineMissingError,
    Options,
    placed,
    run_synchronously,
    usual_batch,
)
from skipway.deploy.engines.fused_batchnorm import variants
from skipway.deploy.export.formats import quiet
from skipway.deploy.export.graph import captured, fold_batch_norm
from skipway.errors import first_line
from skipway.tasks.base import Outputs, as_outputs


def build(trained: EngineInput, options: Options) -> Engine:
    """Options: precision, "float32" or "bfloat16". Raises EngineMissingError where it does not compile."""
    hardware = trained.placement
    batch = usual_batch(trained)
    dtype = getattr(torch, str(options["precision"]))
    compiled = torch.compile(hardware.place(fold_batch_norm(captured(trained))), dynamic=False)

    @torch.no_grad()  # tensors made in inference mode would have the compiled code checked anew
    def run(*inputs: Tensor) -> Outputs:
        there = placed(inputs, batch, hardware)
        with torch.autocast(hardware.device.type, dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            outputs = as_outputs(compiled(*there))
        return tuple(output[: len(inputs[0])].float().cpu() for output in outputs)

    try:
        with quiet():
            run(*trained.example(batch))
    except Exception as fault:  # of any library between here and the compiler
        raise EngineMissingError(f"compile: torch.compile failed ({first_line(fault)})") from fault
    return Engine("compile", str(options["precision"]), options, batch, 1, run_synchronously(run))


KIND = EngineKind(build, variants)
