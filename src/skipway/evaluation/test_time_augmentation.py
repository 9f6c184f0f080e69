"""Test-time augmentation as in the papers: centre crop, mirrored, ten crops, several scales, and ensembles.

A protocol makes a scorer: a split in, outputs (n, ...) float32 on the CPU out, in the split's order. Those that
average probabilities give the logarithm of the mean as scores, so that softmax (for tags: sigmoid) of them is the mean
again. The card's temperature was fitted to scores of one view and does not apply to these. Means are taken in float64,
so that no digit depends on the order in which a kernel sums.

Mirrored images and ten crops: `data.views`, with their papers.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR 2016, arXiv:1512.03385.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from skipway.data import views
from skipway.data.dataset import Split
from skipway.data.loader import in_order
from skipway.data.preprocess import Preprocessing
from skipway.data.targets import Targets
from skipway.data.views import Views
from skipway.errors import SkipwayError
from skipway.evaluation.evaluate import Scorer
from skipway.hardware import Hardware
from skipway.tasks.base import Outputs, as_outputs
from skipway.tasks.inference import batch_size, predict_batches

# ---------------------------------------------------------------------------------------------------------------------
# Parts

Pool = Callable[[Tensor], Tensor]  # scores (views, n, outputs) -> (n, outputs)
Summarise = Callable[[Outputs, Targets], Outputs]  # what is kept of a batch's outputs, and its images' annotations


def workers_for(preprocessing: Preprocessing, hardware: Hardware) -> int:
    """Processes that decode; 0 for small images, which are decoded before a process would start."""
    return hardware.workers if preprocessing.size > 64 else 0


def concatenate(batches: Iterable[Sequence[Tensor]]) -> Outputs:
    """The outputs of all batches, concatenated."""
    return tuple(torch.cat(parts) for parts in zip(*batches, strict=True))


def view_scorer(net: nn.Module, seen: Views, hardware: Hardware, pool: Pool) -> Scorer:
    """Every image is opened once, scored in each of its views, and the scores pooled.

    `net` is on `hardware`'s device; all scorers put it into evaluation mode.
    """

    def scorer(split: Split) -> Outputs:
        device, opened, found = hardware.device, seen.opened, []
        for images in in_order(split, opened, batch_size(device, opened.canvas), workers_for(opened, hardware)):
            outputs = zip(*predict_batches(net, seen.cut(images), opened, device), strict=True)
            found.append([pool(torch.stack(views_of_output)) for views_of_output in outputs])
        return concatenate(found)

    return scorer


# ---------------------------------------------------------------------------------------------------------------------
# Protocols of one network


def center(net: nn.Module, preprocessing: Preprocessing, hardware: Hardware, pool: Pool) -> Scorer:
    """The image as the bundle's preprocessing fits it; one view, nothing is averaged."""
    return summarising(net, preprocessing, hardware, lambda outputs, _: outputs)


def summarising(net: nn.Module, preprocessing: Preprocessing, hardware: Hardware, summarise: Summarise) -> Scorer:
    """As `center`, with `summarise` of the outputs: what a batch's outputs hold need not fit into memory for all."""
    device, batch = hardware.device, batch_size(hardware.device, preprocessing.canvas)

    def scorer(split: Split) -> Outputs:
        found, done = [], 0
        for images in in_order(split, preprocessing, batch, workers_for(preprocessing, hardware)):
            outputs = next(predict_batches(net, [images], preprocessing, device))
            found.append(summarise(outputs, split.targets.take(np.arange(done, done + len(images)))))
            done += len(images)
        return concatenate(found)

    return scorer


def flip(net: nn.Module, preprocessing: Preprocessing, hardware: Hardware, pool: Pool) -> Scorer:
    """The views of `data.views.flip`; probabilities are averaged."""
    return view_scorer(net, views.flip(preprocessing), hardware, pool)


def ten_crop(net: nn.Module, preprocessing: Preprocessing, hardware: Hardware, pool: Pool) -> Scorer:
    """The views of `data.views.ten_crop`; probabilities are averaged. Raises SkipwayError as it does."""
    return view_scorer(net, views.ten_crop(preprocessing), hardware, pool)


SCALES = tuple(side / 224 for side in (224, 256, 384, 480, 640))  # of the size trained at (He 2015, sec. 3.4)


def multi_scale(
    net: nn.Module,
    preprocessing: Preprocessing,
    hardware: Hardware,
    pool: Pool,
    scales: Sequence[float] = SCALES,
) -> Scorer:
    """The whole image, uncropped, at several sizes; scores, before softmax, are averaged (He 2015, sec. 3.4).

    The shorter side is each of `scales` times the bundle's `size`. A linear classifier of averaged maps is what its
    fully convolutional form averages to, so the network is applied as it is; the paper does not mirror. Uncropped
    images differ in size: they are scored one at a time. The paper's networks were trained on objects of many sizes; a
    network that was not, as on CIFAR, becomes less accurate. Raises SkipwayError for a network whose classifier needs a
    map of fixed size.
    """
    if any(isinstance(module, nn.AdaptiveAvgPool2d) for module in net.modules()):
        raise SkipwayError(
            "multi-scale needs a classifier of averaged maps, and this network's depends on positions on the map "
            "(VGG, AlexNet): use the protocol ten-crop or flip"
        )
    sides = [round(scale * preprocessing.size) for scale in scales]
    return averaged([uncropped_scorer(net, Uncropped.at_side(preprocessing, side), hardware) for side in sides])


def averaged(scorers: Sequence[Scorer]) -> Scorer:
    """The mean of the scorers' scores."""
    return lambda split: tuple(
        torch.stack(parts).double().mean(0).float()
        for parts in zip(*(scorer(split) for scorer in scorers), strict=True)
    )


@dataclass(frozen=True)
class Uncropped(Preprocessing):
    """As `Preprocessing`, but fit "crop" keeps the whole image: (C, H, W), the shorter side of `resize` pixels."""

    @classmethod
    def at_side(cls, preprocessing: Preprocessing, side: int) -> "Uncropped":
        """With the shorter side of `side` pixels; for the other fits both sides."""
        return cls(**{**vars(preprocessing), "size": side, "resize": side})

    def fitted(self, image: Tensor) -> Tensor:
        if self.fit != "crop":
            return super().fitted(image)
        height, width = image.shape[1:]
        shorter = min(height, width)  # the result is rounded down, as for crops
        return self.resized(image, int(self.resize * height / shorter), int(self.resize * width / shorter))


def uncropped_scorer(net: nn.Module, preprocessing: Uncropped, hardware: Hardware) -> Scorer:
    """Images as `preprocessing` fits them, scored one at a time."""

    @torch.inference_mode()
    def scorer(split: Split) -> Outputs:
        net.eval()
        found = []
        for image in in_order(split, preprocessing, 1, workers_for(preprocessing, hardware)):
            normalised = preprocessing.normalised(image.to(hardware.device))
            outputs = as_outputs(net(normalised.contiguous(memory_format=torch.channels_last)))
            found.append([output.float().cpu() for output in outputs])
        return concatenate(found)

    return scorer


# ---------------------------------------------------------------------------------------------------------------------
# Protocols of several networks


def ensemble(scorers: Sequence[Scorer], pool: Pool) -> Scorer:
    """Several networks, each by its own scorer, for the same classes in the same order; probabilities are averaged.

    As Krizhevsky 2012 (sec. 6.1) does; He 2015 (Table 5) has 3.57 % top-5 error of six networks and does not say what
    is averaged. Raises SkipwayError when the networks have different numbers of outputs.
    """

    def scorer(split: Split) -> Outputs:
        scores = [one(split)[0] for one in scorers]
        if len({one.shape[1] for one in scores}) != 1:
            counts = ", ".join(str(one.shape[1]) for one in scores)
            raise SkipwayError(f"networks of {counts} classes cannot be averaged: use networks for the same classes")
        return (pool(torch.stack(scores)),)

    return scorer


ScorerFactory = Callable[[nn.Module, Preprocessing, Hardware, Pool], Scorer]

PROTOCOLS: dict[str, ScorerFactory] = {"center": center, "flip": flip, "ten-crop": ten_crop, "multi-scale": multi_scale}
