"""Network outputs for batches of images, the reference for all engines.

Float32, evaluation mode, and batches of one fixed size (the last one padded with zeros): the same image then gets the
same digits whichever images it is batched with, because kernels choose their order of summation by the batch's shape.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from skipway.data.preprocess import Preprocessing
from skipway.tasks.base import Outputs, as_outputs

BATCH = {"cpu": 16, "cuda": 256}  # images; small on a CPU, where a single image costs as much as a full batch


def batch_size(device: torch.device) -> int:
    """Images in a batch on `device`."""
    return BATCH.get(device.type, BATCH["cpu"])


@torch.inference_mode()
def predict_batches(
    net: nn.Module, batches: Iterable[Tensor], preprocessing: Preprocessing, device: torch.device
) -> Iterator[Outputs]:
    """For each batch uint8 (n, C, size, size), n at most `batch_size(device)`, the network's outputs, float32 on the
    CPU, whose first dimension is n.

    `net` is on `device`. It is put into evaluation mode and stays there.
    """
    net.eval()
    full = batch_size(device)
    for images in batches:
        count = len(images)
        if count < full:
            images = torch.cat([images, images.new_zeros(full - count, *images.shape[1:])])
        images = preprocessing.normalised(images.to(device)).contiguous(memory_format=torch.channels_last)
        yield tuple(output[:count].float().cpu() for output in as_outputs(net(images)))
