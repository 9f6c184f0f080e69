"""Scores from images, the one path that evaluation, prediction and every later engine are compared with.

Float32, evaluation mode, and batches of one fixed size (the last one filled up with zeros): the same image then gets
the same digits whichever images it came with, because kernels choose their order of summation by the batch's shape.
"""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from skipway.data.preprocess import Preprocessing

BATCH = {"cpu": 16, "cuda": 256}  # images; small enough on a CPU that a single image does not wait for a crowd


def batch_size(device: torch.device) -> int:
    """Images in a batch on `device`."""
    return BATCH.get(device.type, BATCH["cpu"])


@torch.inference_mode()
def scores_of(
    net: nn.Module, batches: Iterable[Tensor], preprocessing: Preprocessing, device: torch.device
) -> Iterator[Tensor]:
    """For each batch uint8 (n, C, size, size), n at most `batch_size(device)`, its class scores (n, classes) float32.

    `net` is on `device`. It is put into evaluation mode and left there.
    """
    net.eval()
    full = batch_size(device)
    for images in batches:
        count = len(images)
        if count < full:
            images = torch.cat([images, images.new_zeros(full - count, *images.shape[1:])])
        images = preprocessing.normalised(images.to(device)).contiguous(memory_format=torch.channels_last)
        yield net(images)[:count].float().cpu()
