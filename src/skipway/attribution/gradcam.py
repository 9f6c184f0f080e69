"""Heat maps of a class: Grad-CAM, from gradients, and occlusion, from covering parts of the image.

Selvaraju, Cogswell, Das, Vedantam, Parikh, Batra: Grad-CAM: Visual Explanations from Deep Networks via Gradient-based
Localization. ICCV 2017, arXiv:1610.02391.
Zeiler, Fergus: Visualizing and Understanding Convolutional Networks. ECCV 2014, arXiv:1311.2901, sec. 4.2.

Departures from the papers:
- Grad-CAM's map is the output of the last stage, after its final pooling if it has one (VGG, AlexNet, where the paper
  takes the last convolution's); its heat is divided by its largest value.
- Occlusion's patches are a quarter of the image wide and a quarter of that apart; the heat of a pixel is the mean over
  the patches that cover it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipway.models.base import Network


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """`net` in evaluation mode; every module's mode is restored afterwards."""
    training = [module for module in net.modules() if module.training]
    net.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def grad_cam(net: Network, images: Tensor, targets: Tensor) -> Tensor:
    """How much each position supports class `targets[i]` in image i (equations 1 and 2), scaled to [0, 1].

    images (N, C, H, W), normalised, on `net`'s device; targets (N,), class indices. Returns (N, H, W) float32 on the
    CPU; all zeros where no position supports the class. The gradients are of the score before softmax, with respect to
    the last map only: `net` keeps its mode, and no parameter gets a gradient.
    """
    with evaluating(net), torch.inference_mode(False):
        with torch.no_grad():
            last = net.features(images)[-1]
        with torch.enable_grad():
            last.requires_grad_()
            scores = net.classify(last)
            wanted = scores.gather(1, targets.to(scores.device).view(-1, 1))
            (gradients,) = torch.autograd.grad(wanted.sum(), last)
    heat = (gradients.mean((2, 3), keepdim=True) * last.detach()).sum(1, keepdim=True).relu()
    heat = F.interpolate(heat.float(), images.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    return scaled(heat).cpu()


def scaled(heat: Tensor) -> Tensor:
    """(N, H, W) -> each map's positive part over its largest value: in [0, 1]; zeros where nothing is positive."""
    heat = heat.clamp(min=0)
    return heat / heat.amax((1, 2), keepdim=True).clamp(min=torch.finfo(heat.dtype).tiny)


def starts(length: int, patch: int, step: int) -> list[int]:
    """Start positions of patches that cover `length` pixels, the last one flush with the end."""
    return [*range(0, length - patch, step), length - patch]


@torch.inference_mode()
def occlusion(
    net: nn.Module,
    image: Tensor,
    target: int,
    probabilities: Callable[[Tensor], Tensor],
    batch: int,
    patch: int | None = None,
    step: int | None = None,
) -> Tensor:
    """The drop of the probability of class `target` when a patch of the mean colour is there: (H, W) on the CPU.

    image (C, H, W), normalised (so that 0 is the mean colour), on `net`'s device; `probabilities` turns scores
    (n, classes) into as many in [0, 1]. A pixel's value is the mean drop over the patches that cover it: in [-1, 1],
    below 0 where covering it raises the probability. `batch` images go through the network at once. `patch` and
    `step` are pixels; a quarter of the shorter side and a quarter of that when None.
    """
    height, width = image.shape[-2:]
    unit = round(min(height, width) / 16)
    patch = min(patch or max(2, 4 * unit), height, width)
    step = min(step or max(1, unit), patch)
    corners = [(top, left) for top in starts(height, patch, step) for left in starts(width, patch, step)]
    boxes = [(slice(top, top + patch), slice(left, left + patch)) for top, left in corners]
    boxes.insert(0, (slice(0), slice(0)))  # the uncovered image
    found = []
    with evaluating(net):
        for first in range(0, len(boxes), batch):
            some = boxes[first : first + batch]
            covered = image.repeat(batch, 1, 1, 1)
            for one, (rows, columns) in zip(covered, some, strict=False):
                one[:, rows, columns] = 0
            scores = net(covered.contiguous(memory_format=torch.channels_last)).float()
            found.append(probabilities(scores)[: len(some), target].cpu())
    drop = found[0][0] - torch.cat(found)
    total, count = torch.zeros(height, width), torch.zeros(height, width)
    for (rows, columns), value in zip(boxes, drop, strict=True):
        total[rows, columns] += value
        count[rows, columns] += 1
    return total / count
