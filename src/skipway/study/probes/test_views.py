"""Test-time views of images, and the scores of a study's networks for each.

He 2015, secs. 3.4 and 4.1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skipway.data.dataset import Split
from skipway.data.preprocess import Preprocessing
from skipway.data.views import Views, cut_ten
from skipway.evaluation import test_time_augmentation
from skipway.evaluation.evaluate import Scorer
from skipway.evaluation.test_time_augmentation import Pool, ScorerFactory
from skipway.hardware import Hardware
from skipway.models.base import Network
from skipway.study.engine.context import ExperimentContext, TrainedNetwork
from skipway.study.engine.pretrained import PretrainedNetwork
from skipway.study.engine.runs import load
from skipway.tasks.classify.pooling import mean_softmax

MARGIN = 1 / 8  # of the image's side, around it: the padding of training's random crops
SIDES = (7 / 8, 1, 9 / 8)  # relative to the training size
ONE, MIRRORED, TEN, SIZES, ALL = "one view", "mirrored", "ten crops", "three sizes", "crops and sizes"
VIEWS = (ONE, MIRRORED, TEN, SIZES, ALL)


def ten_crops(net: nn.Module, preprocessing: Preprocessing, hardware: Hardware, pool: Pool) -> Scorer:
    """Mean probabilities over the four corner crops and the centre crop of the image with a reflected margin, and their
    mirror images.

    The crops of training are taken from the same padded image.
    """
    side = preprocessing.size
    margin = round(MARGIN * side)

    def cut(images: Tensor) -> list[Tensor]:
        return cut_ten(F.pad(images, (margin,) * 4, mode="reflect"), side)

    return test_time_augmentation.view_scorer(net, Views(preprocessing, cut), hardware, pool)


def three_sizes(net: nn.Module, preprocessing: Preprocessing, hardware: Hardware, pool: Pool) -> Scorer:
    """The image at each of SIDES; scores are averaged before softmax, as in He 2015 (sec. 3.4).

    Square images can be batched without further fitting; others are cropped as usual.
    """
    sides = [round(part * preprocessing.size) for part in SIDES]
    resized = [replace(preprocessing, size=side, resize=side) for side in sides]
    return test_time_augmentation.averaged([test_time_augmentation.center(net, one, hardware, pool) for one in resized])


SCORED: dict[str, ScorerFactory] = {
    ONE: test_time_augmentation.center,
    MIRRORED: test_time_augmentation.flip,
    TEN: ten_crops,
    SIZES: three_sizes,
}


@dataclass(frozen=True)
class Member:
    """A network to evaluate. kind: networks of one kind differ only in their seed; key: identifies it in the cache;
    order: indices of its outputs in the order of the classes."""

    name: str
    kind: str
    key: str
    open: Callable[[], tuple[Network, Preprocessing]]
    order: Sequence[int]


def members(context: ExperimentContext, trained: Sequence[TrainedNetwork]) -> tuple[list[Member], list[Member]]:
    """The networks of the runs that did not diverge, and the pretrained networks."""
    own, in_place = [], range(len(context.dataset.classes))
    for one in trained:
        recipe = one.run.recipe
        if not one.outcome.diverged:
            name = f"{recipe.model}, seed {recipe.seed}"
            own.append(Member(name, recipe.model, one.run.key, partial(load, one.folder), in_place))
    return own, [pretrained_member(foreign, context.dataset.classes) for foreign in context.pretrained()]


def pretrained_member(found: PretrainedNetwork, classes: Sequence[str]) -> Member:
    """A pretrained network, with its scores in the order of `classes`."""
    name, order = f"{found.model} of {found.name}", [found.dataset.classes.index(c) for c in classes]
    return Member(name, name, name, lambda: (found.net, found.preprocessing), order)


def scores(context: ExperimentContext, member: Member, split: Split) -> dict[str, Tensor]:
    """Scores (n, classes) by view, cached; those of ALL are the mean of ten crops and three sizes."""

    def measured(view: str) -> list[list[float]]:
        """The scores of one view, rounded so that cached and fresh values are equal."""
        net, preprocessing = member.open()
        net = net.to(context.hardware.device).to(memory_format=torch.channels_last)
        found = SCORED[view](net, preprocessing, context.hardware, mean_softmax)(split)[0][:, list(member.order)]
        return [[round(score, 4) for score in row] for row in found.tolist()]

    found = {
        view: torch.tensor(context.cached(view, __file__, [member.key], partial(measured, view))) for view in SCORED
    }
    return found | {ALL: mean_softmax(torch.stack([found[TEN], found[SIZES]]))}
