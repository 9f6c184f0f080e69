"""Several ways to look at an image, and what a study's networks answer to each (He 2015, secs. 3.4 and 4.1)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as tv

from skipway.data.preprocess import Preprocessing
from skipway.data.source import Split
from skipway.evaluation import protocols
from skipway.evaluation.evaluate import Scorer
from skipway.evaluation.protocols import Maker, mean_softmax
from skipway.hardware import Hardware
from skipway.models.contract import Network
from skipway.study.bench import Bench, Trained
from skipway.study.foreign import Foreign
from skipway.study.runs import load

MARGIN = 4  # pixels around the image, in which training moves its crops
SIDES = (7 / 8, 1, 9 / 8)  # of the size trained at
ONE, MIRRORED, TEN, SIZES, ALL = "one view", "mirrored", "ten crops", "three sizes", "crops and sizes"
VIEWS = (ONE, MIRRORED, TEN, SIZES, ALL)


def ten_crops(net: nn.Module, preprocessing: Preprocessing, hardware: Hardware) -> Scorer:
    """Four corners and the middle of the image with a mirrored margin, and their mirror images; probabilities averaged.

    The crops of training come from the same enlarged image.
    """
    side = preprocessing.size
    margin = min(MARGIN, side - 1)

    def views(images: Tensor) -> Sequence[Tensor]:
        return tv.ten_crop(tv.pad(images, [margin], padding_mode="reflect"), [side, side])

    return protocols.looking(net, preprocessing, hardware, views, mean_softmax)


def three_sizes(net: nn.Module, preprocessing: Preprocessing, hardware: Hardware) -> Scorer:
    """The image at each of SIDES; scores are averaged before softmax, as He 2015 does (sec. 3.4).

    Square images need no fitting of their own, so that batches do; others lose what the usual crop cuts off.
    """
    sides = [round(part * preprocessing.size) for part in SIDES]
    resized = [replace(preprocessing, size=side, resize=side) for side in sides]
    return protocols.averaged([protocols.center(net, one, hardware) for one in resized])


SCORED: dict[str, Maker] = {ONE: protocols.center, MIRRORED: protocols.flip, TEN: ten_crops, SIZES: three_sizes}


@dataclass(frozen=True)
class Member:
    """A network to be judged. kind: nets of one kind differ in their seed alone; mark: what changes with it; order: its
    outputs by class."""

    name: str
    kind: str
    mark: str
    open: Callable[[], tuple[Network, Preprocessing]]
    order: Sequence[int]


def members(bench: Bench, trained: Sequence[Trained]) -> tuple[list[Member], list[Member]]:
    """The networks of the study's trainings, diverged ones have none, and others'."""
    own, in_place = [], range(len(bench.source.classes))
    for one in trained:
        recipe = one.run.recipe
        if not one.outcome.diverged:
            name = f"{recipe.model}, seed {recipe.seed}"
            own.append(Member(name, recipe.model, one.run.key, partial(load, one.folder), in_place))
    return own, [foreign_member(foreign, bench.source.classes) for foreign in bench.others()]


def foreign_member(found: Foreign, classes: Sequence[str]) -> Member:
    """Others' network, its scores in the order of `classes`."""
    name, order = f"{found.model} of {found.name}", [found.source.classes.index(c) for c in classes]
    return Member(name, name, name, lambda: (found.net, found.feeding), order)


def scores(bench: Bench, member: Member, split: Split) -> dict[str, Tensor]:
    """Scores (n, classes) by view, each measured once; those of ALL are the mean of ten crops and three sizes."""

    def measured(view: str) -> list[list[float]]:
        """Rounded, so that what is read back is what was measured."""
        net, preprocessing = member.open()
        net = net.to(bench.hardware.device).to(memory_format=torch.channels_last)
        found = SCORED[view](net, preprocessing, bench.hardware)(split)[:, list(member.order)]
        return [[round(score, 4) for score in row] for row in found.tolist()]

    found = {view: torch.tensor(bench.keep(view, __file__, [member.mark], partial(measured, view))) for view in SCORED}
    return found | {ALL: mean_softmax(torch.stack([found[TEN], found[SIZES]]))}
