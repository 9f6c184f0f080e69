"""The folded network recorded once as a CUDA graph and played again for each batch: no launch costs, one batch size."""

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
from skipway.deploy.graph import captured, fold_batch_norm

WARM = 3  # passes before recording, in which the libraries choose their kernels


def build(trained: Trained, options: Options) -> Engine:
    """Options: precision, "float32" or "bfloat16". Raises EngineMissingError without a CUDA device."""
    hardware = trained.hardware
    if hardware.device.type != "cuda":
        raise EngineMissingError("cuda-graphs needs a CUDA device: there is none in use")
    batch = usual_batch(trained.goal, hardware.device)
    dtype = getattr(torch, str(options["precision"]))
    net = hardware.place(fold_batch_norm(captured(trained)))
    images_there = hardware.place_images(trained.example(batch))
    graph, beside = torch.cuda.CUDAGraph(), torch.cuda.Stream()

    @torch.no_grad()
    def forward() -> Tensor:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=dtype is torch.bfloat16, cache_enabled=False):
            return net(images_there).float()

    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(WARM):
            forward()
    torch.cuda.current_stream().wait_stream(beside)
    with torch.cuda.graph(graph):
        scores_there = forward()

    def run(images: Tensor) -> Tensor:
        images_there.copy_(filled(images, batch))
        graph.replay()
        return scores_there[: len(images)].cpu()

    return Engine("cuda-graphs", str(options["precision"]), options, batch, 1, at_once(run))


KIND = Kind(build, variants)
