"""Eager with batch norm folded into the convolutions before it, in the machine's fastest precision."""

import torch
from torch import Tensor

from skipway.deploy.contract import Engine, Kind, Options, Trained, at_once, filled, usual_batch
from skipway.deploy.graph import captured, fold_batch_norm


def build(trained: Trained, options: Options) -> Engine:
    """Options: precision, "float32" or "bfloat16"."""
    hardware = trained.hardware
    net = hardware.place(fold_batch_norm(captured(trained)))
    batch = usual_batch(trained.goal, hardware.device)
    dtype = getattr(torch, str(options["precision"]))

    @torch.inference_mode()
    def run(images: Tensor) -> Tensor:
        placed = hardware.place_images(filled(images, batch))
        with torch.autocast(hardware.device.type, dtype=torch.bfloat16, enabled=dtype is torch.bfloat16):
            return net(placed)[: len(images)].float().cpu()

    return Engine("folded", str(options["precision"]), options, batch, 1, at_once(run))


def variants(trained: Trained) -> list[Options]:
    return [{"precision": str(trained.hardware.dtype).removeprefix("torch.")}]


KIND = Kind(build, variants)
