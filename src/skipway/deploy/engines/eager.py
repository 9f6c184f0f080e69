"""The reference engine: the network in float32, by the path that evaluation takes."""

import torch
from torch import Tensor

from skipway.deploy.engines.base import Engine, EngineInput, EngineKind, Options, pad_batch, run_synchronously
from skipway.tasks.base import Outputs, as_outputs
from skipway.tasks.inference import batch_size, generation_batch


def build(trained: EngineInput, options: Options) -> Engine:
    """Its outputs are evaluation's, digit for digit, and so its batch is evaluation's, whatever the goal."""
    device = trained.hardware.device
    sized = generation_batch if trained.task.generates else batch_size
    batch = sized(device, trained.preprocessing.canvas)
    net = trained.task.deployed(trained.net, trained.preprocessing).eval()
    order = torch.contiguous_format if trained.contiguous else torch.channels_last

    def placed(given: Tensor) -> Tensor:
        there = pad_batch(given, batch).to(device)
        return there.contiguous(memory_format=order) if there.dim() == 4 else there

    @torch.inference_mode()
    def run(*inputs: Tensor) -> Outputs:
        outputs = as_outputs(net(*map(placed, inputs)))
        return tuple(output[: len(inputs[0])].float().cpu() for output in outputs)

    return Engine("eager", "float32", options, batch, 1, run_synchronously(run))


KIND = EngineKind(build, lambda trained: [{}])
