"""The folded network recorded once as a CUDA graph and played again for each batch: no launch costs, one batch size."""

import torch
from torch import Tensor

from skipway.deploy.engines.base import (
    Engine,
    EngineInput,
    EngineKind,
    EngineMissingError,
    Options,
    pad_batch,
    placed,
    run_synchronously,
    usual_batch,
)
from skipway.deploy.engines.fused_batchnorm import variants
from skipway.deploy.export.graph import captured, fold_batch_norm
from skipway.tasks.base import Outputs, as_outputs

WARM = 3  # passes before recording, in which the libraries choose their kernels


def build(trained: EngineInput, options: Options) -> Engine:
    """Options: precision, "float32" or "bfloat16". Raises EngineMissingError without a CUDA device."""
    hardware = trained.placement
    if hardware.device.type != "cuda":
        raise EngineMissingError("cuda-graphs needs a CUDA device: there is none in use")
    batch = usual_batch(trained)
    dtype = getattr(torch, str(options["precision"]))
    net = hardware.place(fold_batch_norm(captured(trained)))
    inputs_there = placed(trained.example(batch), batch, hardware)
    graph, beside = torch.cuda.CUDAGraph(), torch.cuda.Stream()

    @torch.no_grad()
    def forward() -> Outputs:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16, cache_enabled=False):
            return tuple(output.float() for output in as_outputs(net(*inputs_there)))

    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(WARM):
            forward()
    torch.cuda.current_stream().wait_stream(beside)
    with torch.cuda.graph(graph):
        outputs_there = forward()

    def run(*inputs: Tensor) -> Outputs:
        for there, given in zip(inputs_there, inputs, strict=True):
            there.copy_(pad_batch(given, batch))
        graph.replay()
        return tuple(output[: len(inputs[0])].cpu() for output in outputs_there)

    return Engine("cuda-graphs", str(options["precision"]), options, batch, 1, run_synchronously(run))


KIND = EngineKind(build, variants)
