"""Eager with batch norm folded into the convolutions before it, in the machine's fastest precision."""

import torch
from torch import Tensor

from skipway.deploy.engines.base import (
    Engine,
    EngineInput,
    EngineKind,
    Options,
    pad_batch,
    run_synchronously,
    usual_batch,
)
from skipway.deploy.export.graph import captured, fold_batch_norm
from skipway.tasks.base import Outputs, as_outputs


def build(trained: EngineInput, options: Options) -> Engine:
    """Options: precision, "float32" or "bfloat16"."""
    hardware = trained.hardware
    net = hardware.place(fold_batch_norm(captured(trained)))
    batch = usual_batch(trained.goal, hardware.device)
    dtype = getattr(torch, str(options["precision"]))

    @torch.inference_mode()
    def run(images: Tensor) -> Outputs:
        placed = hardware.place_images(pad_batch(images, batch))
        with torch.autocast(hardware.device.type, dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            return tuple(output[: len(images)].float().cpu() for output in as_outputs(net(placed)))

    return Engine("folded", str(options["precision"]), options, batch, 1, run_synchronously(run))


def variants(trained: EngineInput) -> list[Options]:
    return [{"precision": str(trained.hardware.dtype).removeprefix("torch.")}]


KIND = EngineKind(build, variants)
