"""Recipes: the settings of a training run. A variant is `replace(recipe, field=value)`.

Every field can be set from the command line by its name. The fields are written into the bundle's card.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from skipway.errors import UnknownNameError

WHITE = (255, 255, 255)


@dataclass(frozen=True)
class Recipe:
    """All settings of a run besides its data."""

    name: str
    model: Annotated[str, "the network"] = "resnet20"
    shortcut: Annotated[str, "A, B or C; empty: the network's own"] = ""
    pretrained: Annotated[
        str, "auto, a name of `skipway weights list` or its tag, embedded, hf:owner/name, a bundle, a file"
    ] = ""
    size: Annotated[int, "pixels a side; 0: the images' own when small, otherwise 224"] = 0
    channels: Annotated[int, "1: grey, 3: colour, more: as many as the images have; 0: the data's own"] = 0
    fit: Annotated[Literal["crop", "pad", "squash"], "how an image is made square; see Preprocessing"] = "crop"
    background: Annotated[tuple[int, ...], "R,G,B from 0 to 255, white or black: behind transparent pixels"] = WHITE
    val: Annotated[float, "share of train held out when the data have no val"] = 0.1
    val_every: Annotated[int, "epochs between validations; the last is always validated"] = 1
    patience: Annotated[
        int, "epochs without a better figure on val that end the run; keeps the weights of the best epoch; 0: off"
    ] = 0
    seed: Annotated[int, "of initial weights, order, augmentation and the val split"] = 0

    epochs: Annotated[int, "passes over train"] = 30
    iterations: Annotated[int, "steps; above 0: instead of epochs"] = 0
    batch: Annotated[int, "images a step, of all processes together"] = 128
    micro: Annotated[int, "images that a process computes at once (gradient accumulation over a step); 0: all"] = 0
    sync_norm: Annotated[bool, "several processes: batch norm over the images of all, not of each"] = False

    optimiser: Annotated[Literal["sgd", "adamw", "muon"], "muon: for the convolutions, SGD for the rest"] = "sgd"
    muon_rate: Annotated[float, "Muon's learning rate, as a multiple of the rate"] = 0.125
    lr: Annotated[float, "peak learning rate for lr-batch images a step; scales with the batch"] = 0.1
    lr_batch: Annotated[int, "images a step that lr is given for"] = 128
    momentum: Annotated[float, "of SGD and Muon; AdamW's first beta"] = 0.9
    beta2: Annotated[float, "AdamW's second beta"] = 0.999
    nesterov: Annotated[bool, "Nesterov momentum"] = False
    weight_decay: Annotated[float, "multiple of the weights added to their gradient"] = 1e-4
    decay_all: Annotated[bool, "false: no decay of batch-norm parameters and biases"] = True

    schedule: Annotated[
        Literal["step", "cosine", "onecycle", "linear", "poly", "wsd"],
        "of the learning rate; wsd: constant until its last third",
    ] = "step"
    milestones: Annotated[tuple[float, ...], "step: shares of the run at which the next factor starts"] = (0.5, 0.75)
    factors: Annotated[tuple[float, ...], "step: multiples of the rate, one more than milestones"] = (1.0, 0.1, 0.01)
    warmup: Annotated[float, "share of the run over which the rate rises, except with step"] = 0.0
    clip: Annotated[float, "largest norm of all gradients together; 0: any"] = 0.0

    criterion: Annotated[
        Literal["", "cross-entropy", "focal", "dice", "cross-entropy+dice"],
        "the loss; of classes cross-entropy or focal (Lin 2017), of label maps any; empty: the task's own",
    ] = ""
    balance: Annotated[Literal["none", "weights", "sampler"], "class imbalance: weights in the loss, or a sampler"] = (
        "none"
    )
    teacher: Annotated[str, "run of a trained network whose scores are learned too (Hinton 2015); empty: none"] = ""
    teacher_weight: Annotated[float, "share of the loss that compares with the teacher; 0: 0.5"] = 0.0
    teacher_temperature: Annotated[float, "divisor of both networks' scores in it; 0: 4"] = 0.0
    label_smoothing: Annotated[float, "share of each target spread over all classes; of tags, towards 0.5"] = 0.0
    mixup: Annotated[float, "alpha of Zhang 2018; 0: off"] = 0.0
    cutmix: Annotated[float, "alpha of Yun 2019; 0: off"] = 0.0
    mosaic: Annotated[float, "boxes: probability of four images in one input (Bochkovskiy 2020); 0: off"] = 0.0
    crop: Annotated[Literal["none", "pad", "resized", "scale"], "random crops; see Augmentation"] = "pad"
    pad: Annotated[int, "pixels of padding for crop=pad"] = 4
    crop_size: Annotated[int, "label maps: pixels a side of the crops of crop=scale; 0: the network's input"] = 0
    flip: Annotated[bool, "mirror half of the images"] = True
    cutout: Annotated[int, "side in pixels of a square set to the mean; 0: off"] = 0
    colour: Annotated[bool, "shift along the principal components of ImageNet's colours"] = False
    small: Annotated[int, "pixels a side of the crops in the first small-epochs epochs; see Augmentation"] = 0
    small_epochs: Annotated[int, "epochs on small crops, which cost less; 0: none"] = 0

    time_mean: Annotated[float, "generation: mean of logit(t), the times learned from"] = 0.0
    time_std: Annotated[float, "generation: deviation of logit(t)"] = 1.0
    label_dropout: Annotated[float, "generation: share of images learned without their class, for guidance"] = 0.0
    dropout: Annotated[float, "generation: in residual units"] = 0.0

    average: Annotated[float, "decay per step of the exponential moving average of weights; 0: off"] = 0.0
    average_width: Annotated[
        float, "instead: relative width of a power-function average (Karras 2024, arXiv:2312.02696); 0: off"
    ] = 0.0
    zero_scale: Annotated[bool, "start each unit as the identity: its last batch-norm scale at 0"] = False
    survival: Annotated[float, "stochastic depth: survival probability of the last unit (Huang 2016); 1: off"] = 1.0
    recompute: Annotated[Literal["auto", "on", "off"], "activation checkpointing; auto: if memory is short"] = "auto"
    freeze: Annotated[int, "first epochs, in which only the classifier learns"] = 0
    unfreeze: Annotated[
        int, "epochs from one layer to the next, from the classifier down, that starts to learn (Howard 2018); 0: all"
    ] = 0
    only_head: Annotated[bool, "only the classifier learns, throughout; the rest stays as pretrained"] = False
    freeze_norm: Annotated[bool, "batch-norm statistics and parameters stay as pretrained"] = False
    freeze_norm_epochs: Annotated[int, "instead: they do so in the first epochs, and learn afterwards; 0: off"] = 0
    rate_decay: Annotated[float, "factor of the learning rate for each layer group further below the classifier"] = 1.0

    def peak_rate(self) -> float:
        """The rate at factor 1: `lr` times `batch` over `lr_batch` (Goyal 2017, sec. 2.1)."""
        return self.lr * self.batch / self.lr_batch


QUICK = Recipe(
    name="quick",
    epochs=45,
    batch=128,
    lr=0.2,
    lr_batch=128,
    nesterov=True,
    weight_decay=5e-4,
    schedule="onecycle",
    warmup=0.2,
    label_smoothing=0.1,
    pad=1,
    flip=False,
    average=0.98,
)
"""For small images in small numbers; the default for `digits`. No flip: a mirrored 2 is not a 2.

Measured: results/digits.json (test accuracy over seeds, processor seconds).
"""

HE2015_CIFAR = Recipe(
    name="he2015-cifar", iterations=64_000, batch=128, lr=0.1, lr_batch=128, weight_decay=1e-4, val=0.0
)
"""He 2015, sec. 4.2: 64,000 iterations of 128 images, rate divided by 10 at 32,000 and 48,000, all 50,000 images.

Published test error, lossless CIFAR-10: 8.75 % (20 layers), 7.51 % (32), 7.17 % (44), 6.97 % (56). Departs from it in
the mean that is subtracted (per channel and divided by the deviation, not per pixel) and in the padding, which mirrors
the edges. For 110 layers: he2015-cifar-110.
"""

HE2015_CIFAR_110 = replace(
    HE2015_CIFAR,
    name="he2015-cifar-110",
    model="resnet110",
    milestones=(400 / 64_000, 0.5, 0.75),
    factors=(0.1, 1.0, 0.1, 0.01),
)
"""As `he2015-cifar`, with the first 400 iterations at 0.01 (sec. 4.2). Published test error: 6.43 % (6.61 ± 0.16)."""

HE2015_IMAGENET = Recipe(
    name="he2015-imagenet",
    model="resnet50_v1",
    size=224,
    iterations=600_000,
    batch=256,
    lr=0.1,
    lr_batch=256,
    weight_decay=1e-4,
    milestones=(0.25, 0.5),
    factors=(1.0, 0.1, 0.01),
    crop="scale",
    colour=True,
    val=0.0,
)
"""He 2015, sec. 3.4: batch 256, rate 0.1, up to 600,000 iterations. Published 1-crop error of resnet50_v1: 24.7 %.

The paper divides the rate when the error plateaus; here at 30 and 60 of 120 epochs, as the authors later wrote
(He 2016, appendix: 30 and 60 epochs). Not run by us: some weeks on one GPU.
"""

MODERN = Recipe(
    name="modern",
    model="resnet50",
    epochs=100,
    batch=128,
    lr=0.5,
    lr_batch=1024,
    nesterov=True,
    weight_decay=2e-5,
    decay_all=False,
    schedule="cosine",
    warmup=0.05,
    label_smoothing=0.1,
    mixup=0.2,
    cutmix=1.0,
    crop="resized",
    average=0.999,
    zero_scale=True,
)
"""Photographs from scratch by current practice: cosine, label smoothing, mixup or cutmix, averaged weights.

After torchvision's second weights (76.13 to 80.86 % for resnet50 over 600 epochs) at a sixth of the length. Not run
by us on ImageNet.
"""

FINETUNE = Recipe(
    name="finetune",
    model="resnet50",
    pretrained="auto",
    epochs=15,
    batch=32,
    lr=0.03,
    lr_batch=32,
    nesterov=True,
    weight_decay=1e-4,
    decay_all=False,
    schedule="cosine",
    warmup=0.1,
    label_smoothing=0.1,
    crop="resized",
    freeze=2,
    freeze_norm=True,
    rate_decay=0.7,
)
"""From pretrained weights to your photographs: the classifier alone for two epochs, then all, lower stages slower.

Batch-norm statistics stay as pretrained, since those of small batches are worse. `auto` takes the weights that suit the
machine, and those in the package where none are available (autoconfig.py). Measured: results/transfer.json.
"""

HEAD = replace(FINETUNE, name="head", only_head=True, freeze=0, epochs=20, lr=0.1, crop="resized")
"""A classifier on the features of pretrained weights, which stay fixed: a third of the time of `finetune`.

Measured: results/transfer.json.
"""

SCRATCH = Recipe(
    name="scratch",
    model="resnet18d_x0_5",
    iterations=2_000,
    batch=16,
    lr=0.02,
    lr_batch=16,
    nesterov=True,
    weight_decay=5e-4,
    decay_all=False,
    schedule="cosine",
    warmup=0.1,
    label_smoothing=0.1,
    crop="resized",
    average=0.99,
)
"""A few photographs without pretrained weights: a small network, small batches, the same number of steps for any data.

Measured: results/first_day.json.
"""

DETECT = Recipe(
    name="detect",
    model="fcos_resnet50",
    pretrained="auto",
    fit="pad",
    iterations=1_000,
    batch=8,
    optimiser="adamw",
    lr=1e-3,
    lr_batch=16,
    weight_decay=0.05,
    decay_all=False,
    schedule="cosine",
    warmup=0.1,
    crop="scale",
    freeze_norm=True,
    average=0.998,
)
"""Boxes, from the weights of a body that was trained to classify: its batch norm stays as it is.

AdamW, because SGD at torchvision's rate (0.01 for 16 images) was far slower from scratch (docs/log.md); scale jitter
after Ghiasi 2021.
"""

DETECT_SCRATCH = replace(
    DETECT,
    name="detect-scratch",
    model="fcos_resnet18",
    pretrained="",
    iterations=2_000,
    freeze_norm=False,
)
"""Boxes without pretrained weights: more epochs (He, Girshick, Dollar 2019, arXiv:1811.08883), batch norm that learns.

Measured: results/detection.json.
"""

DETECT_FINETUNE = replace(DETECT, name="detect-finetune", iterations=500, lr=3e-4)
"""Boxes, from the weights of a detector that was trained on COCO."""

SEGMENT = Recipe(
    name="segment",
    model="unet_resnet50",
    pretrained="auto",
    fit="pad",
    iterations=2_000,
    batch=8,
    optimiser="adamw",
    lr=1e-3,
    lr_batch=16,
    weight_decay=0.01,
    decay_all=False,
    schedule="poly",
    warmup=0.05,
    criterion="cross-entropy+dice",
    crop="scale",
    crop_size=192,
    average=0.998,
    val_every=10,
)
"""Label maps, from the weights of a body that was trained to classify, on random crops.

The Dice loss finds rare classes as class weights do, and costs the frequent ones less (docs/log.md).
"""

SEGMENT_SCRATCH = replace(
    SEGMENT, name="segment-scratch", model="unet_resnet18", pretrained="", iterations=8_000, lr=4e-3
)
"""Label maps without pretrained weights. How loss and rate were chosen: docs/log.md."""

GENERATE_32 = Recipe(
    name="generate-32",
    model="unet32",
    iterations=40_000,
    batch=256,
    optimiser="adamw",
    lr=3e-4,
    lr_batch=256,
    beta2=0.99,
    weight_decay=0.0,
    schedule="wsd",
    warmup=0.05,
    clip=1.0,
    crop="none",
    time_mean=-1.2,
    time_std=1.2,
    label_dropout=0.1,
    dropout=0.1,
    average_width=0.1,
)
"""Colour images of about 32 pixels: ten million images (times: Karras 2022, arXiv:2206.00364, table 1)."""

GENERATE_8 = replace(
    GENERATE_32,
    name="generate-8",
    model="unet8",
    iterations=1_500,
    batch=64,
    lr=1e-3,
    lr_batch=64,
    time_mean=-0.8,
    dropout=0.0,
    flip=False,
)
"""Images of a few pixels, as the digits of scikit-learn. Measured: results/generation.json."""

GENERATE_28 = replace(GENERATE_8, name="generate-28", model="unet28", iterations=5_000, batch=128, lr_batch=128)
"""Small grey images, as MNIST. Measured: results/generation.json."""

GENERATE_64 = replace(
    GENERATE_32,
    name="generate-64",
    model="unet64",
    size=64,
    iterations=80_000,
    batch=128,
    lr=2e-4,
    lr_batch=128,
    time_mean=-0.8,
    time_std=1.6,
    flip=False,
)
"""Photographs, at 64 pixels. Not run by us in full."""

FAST_CIFAR = Recipe(
    name="fast-cifar",
    epochs=14,
    batch=256,
    lr=0.2,
    lr_batch=128,
    nesterov=True,
    weight_decay=5e-4,
    optimiser="muon",
    muon_rate=0.25,
    schedule="linear",
    warmup=0.2,
    average=0.99,
    pad=2,
    small=24,
    small_epochs=2,
    val=0.0,
)
"""CIFAR in minutes: Muon, a linear rise and fall of the rate, averaged weights, smaller crops in the first epochs,
all 50,000 images.

Measured: results/cifar10.json. How it was found: docs/log.md.
"""

FASTEST_CIFAR = replace(FAST_CIFAR, name="fastest-cifar", epochs=10, small_epochs=3)
"""The accuracy of a plain loop of 14 epochs in less time: fewer epochs of `fast-cifar`, more of them on small crops.

Chosen on val. Measured beside the plain loop: results/time_to_accuracy.json.
"""

RECIPES: dict[str, Recipe] = {
    r.name: r
    for r in (
        QUICK,
        FAST_CIFAR,
        FASTEST_CIFAR,
        HE2015_CIFAR,
        HE2015_CIFAR_110,
        HE2015_IMAGENET,
        MODERN,
        FINETUNE,
        HEAD,
        SCRATCH,
        DETECT,
        DETECT_SCRATCH,
        DETECT_FINETUNE,
        SEGMENT,
        SEGMENT_SCRATCH,
        GENERATE_8,
        GENERATE_28,
        GENERATE_32,
        GENERATE_64,
    )
}


def find_recipe(name: str) -> Recipe:
    """The recipe called `name`. Raises UnknownNameError with the nearest name."""
    if name not in RECIPES:
        raise UnknownNameError("recipe", name, RECIPES, f"one of {', '.join(RECIPES)}")
    return RECIPES[name]
