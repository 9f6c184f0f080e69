"""Eager with batch norm folded into the convolutions before it, in the machine's fastest precision."""

import torch
from torch import Tensor

from skipway.deploy.engines.base import (
    Engine,
    EngineInput,
    EngineKind,
    Options,
    placed,
    run_synchronously,
    usual_batch,
)
from skipway.deploy.export.graph import captured, fold_batch_norm
from skipway.tasks.base import Outputs, as_outputs


def build(trained: EngineInput, options: Options) -> Engine:
    """Options: precision, "float32" or "bfloat16"."""
    hardware = trained.placement
    net = hardware.place(fold_batch_norm(captured(trained)))
    batch = usual_batch(trained)
    dtype = getattr(torch, str(options["precision"]))

    @torch.inference_mode()
    def run(*inputs: Tensor) -> Outputs:
        there = placed(inputs, batch, hardware)
        with torch.autocast(hardware.device.type, dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            outputs = as_outputs(net(*there))
        return tuple(output[: len(inputs[0])].float().cpu() for output in outputs)

    return Engine("folded", str(options["precision"]), options, batch, 1, run_synchronously(run))


def variants(trained: EngineInput) -> list[Options]:
    return [{"precision": str(trained.hardware.dtype).removeprefix("torch.")}]


KIND = EngineKind(build, variants)
