"""How the papers looked at each test image: once in the middle, mirrored, ten crops, several scales, several networks.

A protocol makes a scorer: a split in, scores (n, outputs) float32 on the CPU out, in the split's order. Those that
average probabilities give the logarithm of the mean as scores, so that softmax (for tags: sigmoid) of them is the mean
again. A temperature was fitted to scores of one view, and does not belong to these. Means are taken in float64, so that
no digit depends on how a kernel orders the sums of so many images.

Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks. NeurIPS 2012.
Simonyan, Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition. ICLR 2015, arXiv:1409.1556.
He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition. CVPR 2016, arXiv:1512.03385.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as tv

from skipway.data.loader import in_order
from skipway.data.preprocess import Preprocessing
from skipway.data.source import Split
from skipway.errors import SkipwayError
from skipway.evaluation.evaluate import Scorer
from skipway.hardware import Hardware
from skipway.tasks.inference import batch_size, scores_of

# ---------------------------------------------------------------------------------------------------------------------
# Parts

Views = Callable[[Tensor], Sequence[Tensor]]  # images uint8 (n, C, H, W) -> each way of looking at them, (n, C, s, s)
Pool = Callable[[Tensor], Tensor]  # scores (views, n, outputs) -> (n, outputs)


def mean_softmax(scores: Tensor) -> Tensor:
    """The logarithm of the mean over the first axis of the softmax over the last one."""
    return (scores.double().log_softmax(-1).logsumexp(0) - math.log(len(scores))).float()


def mean_sigmoid(scores: Tensor) -> Tensor:
    """The log-odds of the mean over the first axis of the sigmoid of each score."""
    scores = scores.double()
    return (F.logsigmoid(scores).logsumexp(0) - F.logsigmoid(-scores).logsumexp(0)).float()


def only(scores: Tensor) -> Tensor:
    """The one view's scores as they are."""
    (one,) = scores
    return one


def workers_for(preprocessing: Preprocessing, hardware: Hardware) -> int:
    """Processes that decode; small images are decoded sooner than processes start."""
    return hardware.workers if preprocessing.size > 64 else 0


def looking(net: nn.Module, opened: Preprocessing, hardware: Hardware, views: Views, pool: Pool) -> Scorer:
    """Every image opened once by `opened`, scored in each of `views`, and the scores pooled.

    `net` is on `hardware`'s device; all scorers put it into evaluation mode.
    """

    def scorer(split: Split) -> Tensor:
        device, found = hardware.device, []
        for images, _ in in_order(split, opened, batch_size(device), workers_for(opened, hardware)):
            found.append(pool(torch.stack(list(scores_of(net, views(images), opened, device)))))
        return torch.cat(found)

    return scorer


# ---------------------------------------------------------------------------------------------------------------------
# Protocols of one network


def center(net: nn.Module, preprocessing: Preprocessing, hardware: Hardware) -> Scorer:
    """The image as the bundle's preprocessing fits it; the scores are the network's, nothing is averaged."""
    return looking(net, preprocessing, hardware, lambda images: [images], only)


def flip(net: nn.Module, preprocessing: Preprocessing, hardware: Hardware, pool: Pool = mean_softmax) -> Scorer:
    """The fitted image and its mirror image; probabilities are averaged (Simonyan 2015, sec. 3.2)."""
    return looking(net, preprocessing, hardware, lambda images: [images, images.flip(-1)], pool)


def ten_crop(net: nn.Module, preprocessing: Preprocessing, hardware: Hardware, pool: Pool = mean_softmax) -> Scorer:
    """Four corners and the centre of the image fitted to `resize` pixels, and their mirror images (Krizhevsky 2012,
    sec. 4.1); probabilities are averaged.

    Raises SkipwayError where `resize` leaves no margin, and all crops would be the same.
    """
    size, resize = preprocessing.size, preprocessing.resize
    if resize <= size:
        raise SkipwayError(
            f"ten crops need a margin, and images are resized to {resize} pixels and cropped to {size}: "
            "use the protocol flip, or a bundle with a larger resize"
        )
    opened = replace(preprocessing, size=resize)
    return looking(net, opened, hardware, lambda images: tv.ten_crop(images, [size, size]), pool)


SCALES = tuple(side / 224 for side in (224, 256, 384, 480, 640))  # of the size trained at (He 2015, sec. 3.4)


def multi_scale(
    net: nn.Module, preprocessing: Preprocessing, hardware: Hardware, scales: Sequence[float] = SCALES
) -> Scorer:
    """The whole image, uncropped, at several sizes; scores, before softmax, are averaged (He 2015, sec. 3.4).

    The shorter side is each of `scales` times the bundle's `size`. A linear classifier of averaged maps is what its
    fully convolutional form averages to, so the network is applied as it is; the paper does not mirror. Whole images
    have sizes of their own: they are scored one at a time. The paper's networks were trained on objects of many sizes;
    one that was not, as on CIFAR, loses by it. Raises SkipwayError for a network whose classifier wants a map of one
    size.
    """
    if any(isinstance(module, nn.AdaptiveAvgPool2d) for module in net.modules()):
        raise SkipwayError(
            "several scales need a classifier of averaged maps, and this network's sees where on the map things are "
            "(VGG, AlexNet): use the protocol ten-crop or flip"
        )
    sides = [round(scale * preprocessing.size) for scale in scales]
    return averaged([whole(net, Uncropped.at_side(preprocessing, side), hardware) for side in sides])


def averaged(scorers: Sequence[Scorer]) -> Scorer:
    """The mean of the scorers' scores."""
    return lambda split: torch.stack([scorer(split) for scorer in scorers]).double().mean(0).float()


@dataclass(frozen=True)
class Uncropped(Preprocessing):
    """As `Preprocessing`, but fit "crop" keeps all of the image: (C, H, W), the shorter side of `resize` pixels."""

    @classmethod
    def at_side(cls, preprocessing: Preprocessing, side: int) -> "Uncropped":
        """The shorter side of `side` pixels; for the other fits both sides."""
        return cls(**{**vars(preprocessing), "size": side, "resize": side})

    def fitted(self, image: Tensor) -> Tensor:
        if self.fit != "crop":
            return super().fitted(image)
        height, width = image.shape[1:]
        shorter = min(height, width)  # rounded down, as for crops
        return self.resized(image, int(self.resize * height / shorter), int(self.resize * width / shorter))


def whole(net: nn.Module, preprocessing: Uncropped, hardware: Hardware) -> Scorer:
    """Images as `preprocessing` leaves them, scored one at a time."""

    @torch.inference_mode()
    def scorer(split: Split) -> Tensor:
        net.eval()
        found = []
        for image, _ in in_order(split, preprocessing, 1, workers_for(preprocessing, hardware)):
            normalised = preprocessing.normalised(image.to(hardware.device))
            found.append(net(normalised.contiguous(memory_format=torch.channels_last)).float().cpu())
        return torch.cat(found)

    return scorer


# ---------------------------------------------------------------------------------------------------------------------
# Protocols of several networks


def ensemble(scorers: Sequence[Scorer], pool: Pool = mean_softmax) -> Scorer:
    """Several networks, each by its own scorer, for the same classes in the same order; probabilities are averaged.

    As Krizhevsky 2012 (sec. 6.1) does; He 2015 (Table 5) has 3.57 % top-5 error of six networks and does not say what
    is averaged. Raises SkipwayError when the networks give different numbers of scores.
    """

    def scorer(split: Split) -> Tensor:
        scores = [one(split) for one in scorers]
        if len({one.shape[1] for one in scores}) != 1:
            counts = ", ".join(str(one.shape[1]) for one in scores)
            raise SkipwayError(f"networks of {counts} classes cannot be averaged: give ones for the same classes")
        return pool(torch.stack(scores))

    return scorer


Maker = Callable[[nn.Module, Preprocessing, Hardware], Scorer]

PROTOCOLS: dict[str, Maker] = {"center": center, "flip": flip, "ten-crop": ten_crop, "multi-scale": multi_scale}
TAG_PROTOCOLS: dict[str, Maker] = PROTOCOLS | {  # where every class has a probability of its own
    "flip": partial(flip, pool=mean_sigmoid),
    "ten-crop": partial(ten_crop, pool=mean_sigmoid),
}
