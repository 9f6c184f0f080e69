"""What the studies of many variants train: their depth and length at each scale, and the warm-up of He 2016."""

from collections.abc import Sequence
from dataclasses import replace

from skipway.study.contract import Scale, ScaleName, training
from skipway.training.recipes import HE2015_CIFAR_110, Recipe

DEPTH: dict[ScaleName, int] = {"tiny": 20, "small": 32, "paper": 110}  # layers of the nets that stand for 110
SHARE = 1 / 4  # of a full training, at scale small
PIXELS, PAD = 16, 2  # at scale small: a quarter of the work of 32
SMALLER = (
    "Below scale paper the nets have 32 layers (20 at tiny) in the place of 110. Scale small trains them for a "
    "quarter of its length, on images of 16 pixels a side."
)


def brief(scale: Scale, model: str) -> Recipe:
    """A training among many; it begins at a tenth of the rate, for the first 400 of 64,000 steps (He 2016)."""
    recipe = training(scale, model, SHARE if scale.name == "small" else 1.0)
    recipe = replace(recipe, milestones=HE2015_CIFAR_110.milestones, factors=HE2015_CIFAR_110.factors)
    return replace(recipe, size=PIXELS, pad=PAD) if scale.name == "small" else recipe


def once(recipes: Sequence[Recipe]) -> list[Recipe]:
    """`recipes` without repetitions."""
    return list(dict.fromkeys(recipes))
