"""Short training recipes for studies that compare many variants of a network."""

from collections.abc import Sequence
from dataclasses import replace

from skipway.study.engine.scale import Scale, ScaleName, training
from skipway.training.recipes import HE2015_CIFAR_110, Recipe

DEPTH: dict[ScaleName, int] = {"tiny": 20, "small": 32, "paper": 110}  # layers of the networks; the paper's have 110
SHARE = 1 / 4  # of a full training run, at scale small
PIXELS, PAD = 16, 2  # at scale small: a quarter of the cost of 32 pixels
SMALLER = (
    "Below scale paper the networks have 32 layers (20 at tiny) instead of 110. Scale small trains them for a "
    "quarter of its length, on images of 16 x 16 pixels."
)


def brief(scale: Scale, model: str) -> Recipe:
    """A short training recipe; the learning rate is a tenth for the first 400 of 64,000 steps (He 2016)."""
    recipe = training(scale, model, SHARE if scale.name == "small" else 1.0)
    recipe = replace(recipe, milestones=HE2015_CIFAR_110.milestones, factors=HE2015_CIFAR_110.factors)
    return replace(recipe, size=PIXELS, pad=PAD) if scale.name == "small" else recipe


def once(recipes: Sequence[Recipe]) -> list[Recipe]:
    """`recipes` without duplicates."""
    return list(dict.fromkeys(recipes))
