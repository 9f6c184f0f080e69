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
USUAL = (224, 224)  # pixels
LARGE = 256 * 256  # pixels above which an image keeps a CPU busy, and a full batch would not fit into a GPU


def batch_size(device: torch.device, canvas: tuple[int, int] = USUAL) -> int:
    """Images of `canvas` (height, width) pixels in a batch on `device`."""
    full, pixels = BATCH.get(device.type, BATCH["cpu"]), canvas[0] * canvas[1]
    if pixels <= LARGE:
        return full
    return max(full * LARGE // pixels, 1) if device.type == "cuda" else 1


def generation_batch(device: torch.device, canvas: tuple[int, int]) -> int:
    """Images that a generator computes at once: on a processor more where they have few pixels, whose kernels would
    otherwise wait for their own start most of the time."""
    pixels, usual = canvas[0] * canvas[1], batch_size(device, canvas)
    if device.type != "cpu":
        return usual
    return 64 if pixels <= 16**2 else 32 if pixels <= 32**2 else usual


@torch.inference_mode()
def predict_batches(
    net: nn.Module, batches: Iterable[Tensor], preprocessing: Preprocessing, device: torch.device
) -> Iterator[Outputs]:
    """For each batch uint8 (n, C, H, W), n at most `batch_size(device, (H, W))`, the network's outputs, float32 on the
    CPU, whose first dimension is n.

    `net` is on `device`. It is put into evaluation mode and stays there.
    """
    net.eval()
    for images in batches:
        count, full = len(images), batch_size(device, (images.shape[-2], images.shape[-1]))
        if count < full:
            images = torch.cat([images, images.new_zeros(full - count, *images.shape[1:])])
        images = preprocessing.normalised(images.to(device)).contiguous(memory_format=torch.channels_last)
        yield tuple(output[:count].float().cpu() for output in as_outputs(net(images)))
