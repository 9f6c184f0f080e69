"""Short training recipes for studies that compare many variants of a network."""

from collections.abc import Sequence
from dataclasses import replace

from skipway.study.engine.scale import Scale, ScaleName, training
from skipway.training.recipes import HE2015_CIFAR_110, Recipe

DEPTH: dict[ScaleName, int] = {"tiny": 20, "small": 32, "paper": 110}  # layers of the networks; the paper's have 110
SHARE = 1 / 4  # of a full training run, at scale small
PIXELS, PAD = 16, 2  # at scale small: a quarter of the cost of 32 pixels
WARMUP = 0.1  # of a full run of scale small: 400 of 4,000 steps, as many as the paper's
SMALLER = (
    "Below scale paper the networks have 32 layers (20 at tiny) instead of 110. Scale small trains them on images of "
    "16 x 16 pixels for 4,000 steps, of which the first 400 have a tenth of the learning rate, or for 1,000."
)


def full_length(scale: Scale, model: str, share: float = 1.0) -> Recipe:
    """A recipe of the scale's length, at scale small of `share` of it; the learning rate is a tenth for the first 400
    steps (He 2016, sec. 3.1)."""
    if scale.name != "small":
        return warmed(scale, model, 1.0)
    recipe = warmed(scale, model, share)
    return replace(recipe, milestones=(WARMUP / share, *recipe.milestones[1:]), size=PIXELS, pad=PAD)


def brief(scale: Scale, model: str) -> Recipe:
    """A quarter of `full_length` at scale small, with a learning rate of a tenth for six steps; otherwise the same."""
    if scale.name != "small":
        return full_length(scale, model)
    return replace(warmed(scale, model, SHARE), size=PIXELS, pad=PAD)


def warmed(scale: Scale, model: str, share: float) -> Recipe:
    """`share` of a full run with the paper's schedule for 110 layers: a tenth of the rate for 400 of 64,000 steps."""
    return replace(
        training(scale, model, share), milestones=HE2015_CIFAR_110.milestones, factors=HE2015_CIFAR_110.factors
    )


def once(recipes: Sequence[Recipe]) -> list[Recipe]:
    """`recipes` without duplicates."""
    return list(dict.fromkeys(recipes))
