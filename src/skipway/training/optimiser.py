"""Optimisers and parameter groups: learning rates, weight decay, freezing."""

from collections.abc import Collection, Iterator
from typing import Any

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
                apart = below if recipe.unfreeze else not below and recipe.freeze > 0
                found.append({"params": parameters, "scale": scale, "weight_decay": decay, "apart": apart})
    return merge_groups(with_norms_apart(found, net) if recipe.freeze_norm_epochs else found)


def with_norms_apart(found: list[dict], net: nn.Module) -> list[dict]:
    """The groups with the parameters of batch norms, which learn later, in groups of their own."""
    of_norms = {p for norm in norms(net) for p in norm.parameters(recurse=False)}
    divided = []
    for group in found:
        for apart in (False, True):
            parameters = [p for p in group["params"] if (p in of_norms) == apart]
            if parameters:
                divided.append({**group, "params": parameters, "apart": (group["apart"], apart)})
    return divided


def merge_groups(found: list[dict]) -> list[dict]:
    """Groups of equal scale, decay and "apart" merged, because an optimiser's cost grows with their number.

    Those that learn from other epochs on are apart: fused SGD accepts no group of which only a part has momentum.
    """
    merged: dict[tuple[float, float, Any], dict] = {}
    for group in found:
        key = (group["scale"], group["weight_decay"], group.pop("apart", False))
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
    """The mode of a recipe whose first epochs are like all others, with only the classifier or all layers learning."""
    set_frozen(net, 1 if only_classifier else len(layers(net)), recipe.freeze_norm)


def set_epoch_mode(net: nn.Module, recipe: Recipe, epoch: int) -> None:
    """The training mode of `epoch`, counted from 0."""
    set_frozen(net, layers_learning(net, recipe, epoch), recipe.freeze_norm or epoch < recipe.freeze_norm_epochs)


def layers_learning(net: nn.Module, recipe: Recipe, epoch: int) -> int:
    """How many layers learn in `epoch`, counted from the classifier.

    With `unfreeze`, one more each time that so many epochs have passed since `freeze` ended, which then is at least as
    long (Howard and Ruder 2018, arXiv:1801.06146, sec. 3.3).
    """
    count, first = len(layers(net)), recipe.freeze or recipe.unfreeze
    if recipe.only_head or epoch < first:
        return 1
    return min(2 + (epoch - first) // recipe.unfreeze, count) if recipe.unfreeze else count


def set_frozen(net: nn.Module, learning: int, freeze_norm: bool) -> None:
    """Training mode, with frozen parts in evaluation mode, so that their batch-norm statistics do not change either."""
    net.train()
    net.requires_grad_(True)
    own = layers(net)
    for layer in own[: len(own) - learning]:
        layer.requires_grad_(False)
        layer.eval()
    if freeze_norm:
        for norm in norms(net):
            norm.requires_grad_(False)
            norm.eval()


def is_first_of_more(net: nn.Module, recipe: Recipe, epoch: int) -> bool:
    """Whether other parameters learn in `epoch` than in the one before."""
    more = layers_learning(net, recipe, epoch) != layers_learning(net, recipe, epoch - 1)
    return epoch > 0 and (more or epoch == recipe.freeze_norm_epochs)
