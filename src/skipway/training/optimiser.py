"""Optimisers and parameter groups: learning rates, weight decay, freezing."""

from collections.abc import Collection, Iterator

import torch
from torch import nn

from skipway.models.base import Network
from skipway.training.muon import ConvolutionMuon
from skipway.training.recipes import Recipe


def layers(net: nn.Module) -> list[nn.Module]:
    """The top-level children that have parameters, in order; the last is the classifier."""
    return [child for child in net.children() if any(True for _ in child.parameters())]


def norms(net: nn.Module) -> Iterator[nn.Module]:
    """Every batch normalisation in `net`."""
    return (m for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))


def groups(net: nn.Module, recipe: Recipe, exclude: Collection[nn.Parameter] = ()) -> list[dict]:
    """Parameter groups, without `exclude`, with `scale`, each one's multiple of the rate, and its `weight_decay`.

    A layer k positions below the classifier has scale `rate_decay` to the power k. Without `decay_all`, vectors
    (batch-norm parameters and biases) have no decay (He 2019, arXiv:1812.01187, sec. 3.1).
    """
    found = []
    excluded = set(exclude)
    for below, layer in enumerate(reversed(layers(net))):
        scale = recipe.rate_decay**below
        for vectors in (False, True):
            parameters = [p for p in layer.parameters() if (p.ndim < 2) == vectors and p not in excluded]
            decay = 0.0 if vectors and not recipe.decay_all else recipe.weight_decay
            if parameters:
                found.append({"params": parameters, "scale": scale, "weight_decay": decay, "head": not below})
    return merge_groups(found, separate_head=recipe.freeze > 0)


def merge_groups(found: list[dict], separate_head: bool = False) -> list[dict]:
    """Groups of equal scale and decay merged, because an optimiser's cost grows with their number.

    `separate_head`: the classifier's are not merged with others. Where it learns first, fused SGD has momentum only for
    it, and accepts no group of which only a part has momentum.
    """
    merged: dict[tuple[float, float, bool], dict] = {}
    for group in found:
        key = (group["scale"], group["weight_decay"], group.pop("head", False) and separate_head)
        if key in merged:
            merged[key]["params"] += group["params"]
        else:
            merged[key] = group
    return list(merged.values())


def kernel_groups(net: Network, recipe: Recipe) -> list[dict]:
    """As `groups`, of the kernels that Muon trains: all but the first convolution's, at `muon_rate` times the rate."""
    first = net.get_submodule(net.first)
    found = []
    for below, layer in enumerate(reversed(layers(net))):
        convolutions = [m for m in layer.modules() if isinstance(m, nn.Conv2d) and m is not first]
        scale = recipe.muon_rate * recipe.rate_decay**below
        if convolutions:
            kernels = [m.weight for m in convolutions]
            found.append({"params": kernels, "scale": scale, "weight_decay": recipe.weight_decay})
    return merge_groups(found)


def optimisers(net: Network, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """SGD with momentum, or AdamW, over `groups`; with "muon", Muon for the kernels and SGD for the rest."""
    if recipe.optimiser == "adamw":
        betas = (recipe.momentum, recipe.beta2)
        return [torch.optim.AdamW(groups(net, recipe), lr=recipe.peak_rate(), betas=betas, fused=True)]
    if recipe.optimiser == "sgd":
        return [sgd(groups(net, recipe), recipe)]
    kernels = kernel_groups(net, recipe)
    muon = ConvolutionMuon(kernels, recipe.momentum, recipe.nesterov)
    return [sgd(groups(net, recipe, [p for group in kernels for p in group["params"]]), recipe), muon]


def sgd(parameters: list[dict], recipe: Recipe) -> torch.optim.SGD:
    """SGD with the recipe's momentum over groups of parameters."""
    return torch.optim.SGD(
        parameters,
        lr=recipe.peak_rate(),
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
        fused=True,
    )


def set_rate(optimisers: list[torch.optim.Optimizer], rate: float) -> None:
    """Give each group `rate` times its scale."""
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = rate * group["scale"]


def set_training_mode(net: nn.Module, recipe: Recipe, only_classifier: bool) -> None:
    """Training mode, with frozen parts in evaluation mode, so that their batch-norm statistics do not change either."""
    net.train()
    net.requires_grad_(True)
    if only_classifier:
        for layer in layers(net)[:-1]:
            layer.requires_grad_(False)
            layer.eval()
    if recipe.freeze_norm:
        for norm in norms(net):
            norm.requires_grad_(False)
            norm.eval()
