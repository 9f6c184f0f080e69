"""A network and torchvision's twin of it, as the tests of models/ look at them."""

import math

import torch
import torchvision
from torch import nn

from skipway.models import build
from skipway.models.base import Network


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def on_meta(name: str, **options: object) -> Network:
    """The network with shapes and without numbers, so that the largest costs nothing."""
    with torch.device("meta"):
        return build(name, **options)


def shaken(net: nn.Module) -> nn.Module:
    """`net` with numbers of its own everywhere, so that no part can be left out unnoticed, and signals of some size."""
    with torch.no_grad():
        for p in net.parameters():
            if p.dim() > 1:
                bound = math.sqrt(6 / p[0].numel())
                p.uniform_(-bound, bound)
            else:
                p.uniform_(-0.2, 0.6)
        for module in net.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.2, 0.6)
                module.running_mean.uniform_(-0.3, 0.3)
                module.running_var.uniform_(0.5, 1.5)
                module.num_batches_tracked.fill_(3)
    return net


def theirs(name: str, classes: int) -> nn.Module:
    """torchvision's network, with shapes and without numbers."""
    options = {"init_weights": False} if name == "googlenet" else {}  # it warns where nobody chooses
    with torch.device("meta"):
        return torchvision.models.get_model(name, weights=None, num_classes=classes, **options)
