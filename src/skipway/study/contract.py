"""What a study is: the claims of a paper, the trainings that test them, what is measured on these, and what follows.

A study is one file with a `STUDY`. The frame around it plans, trains, keeps, writes and draws (frame.py).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from skipway.training.recipes import HE2015_CIFAR, Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from skipway.study.bench import Bench

ScaleName = Literal["tiny", "small", "paper"]
State = Literal["holds", "does not hold", "not decided"]
Findings = dict[str, Any]  # plain values, as JSON holds them: a figure and a table are made from these alone
RANKS: tuple[ScaleName, ...] = ("tiny", "small", "paper")


@dataclass(frozen=True)
class Claim:
    """What a paper says, and what would speak against it.

    sentence: the claim in our words; published: its figures; tolerance: how near a measurement must come, or what
    counts as a difference; shown_from, refuted_from: the smallest scale whose result can show or refute it. A claim
    about long trainings may show early, and is not refuted by short ones.
    """

    name: str
    sentence: str
    source: str
    published: str
    tolerance: str
    refuted_by: str
    shown_from: ScaleName = "small"
    refuted_from: ScaleName = "paper"


@dataclass(frozen=True)
class Scale:
    """How much is trained and judged.

    data: what `open_source` takes, unless another is given; iterations: steps of a full training, of `batch` images;
    images: at most so many in each split, 0 for all; judged: at most so many of a split when errors are measured.
    """

    name: ScaleName
    data: str
    iterations: int
    batch: int
    seeds: int
    images: int
    judged: int

    @property
    def rank(self) -> int:
        """Among the scales, the shortest first."""
        return RANKS.index(self.name)

    @property
    def cut(self) -> bool:
        """Whether a budget left fewer iterations than the scale has."""
        return self.iterations < SCALES[self.name].iterations

    @property
    def reached(self) -> int:
        """The rank of the longest scale whose trainings are no longer than these: what may be concluded from them."""
        return max((one.rank for one in SCALES.values() if one.iterations <= self.iterations), default=0)

    @property
    def called(self) -> str:
        return f"{self.name}, cut to {self.iterations:,} iterations," if self.cut else self.name


SCALES: dict[str, Scale] = {
    scale.name: scale
    for scale in (
        Scale("tiny", "digits", iterations=4, batch=32, seeds=1, images=64, judged=64),
        Scale("small", "cifar10", iterations=4_000, batch=128, seeds=2, images=0, judged=10_000),
        Scale("paper", "cifar10", iterations=64_000, batch=128, seeds=2, images=0, judged=0),
    )
}


def training(scale: Scale, model: str, share: float = 1.0) -> Recipe:
    """The recipe of He 2015 for CIFAR, cut to `share` of the scale's length; the rate falls at 1/2 and 3/4 of it.

    Studies that ask for equal trainings get equal recipes, and so one run.
    """
    steps = max(1, round(scale.iterations * share))
    return replace(HE2015_CIFAR, model=model, iterations=steps, batch=min(scale.batch, HE2015_CIFAR.batch))


@dataclass(frozen=True)
class Verdict:
    """What may be said of a claim, why, and the figures that it rests on."""

    claim: str
    state: State
    reason: str
    measured: str


@dataclass(frozen=True)
class Table:
    """Rows of text beside the paper's figures; `columns` names them, the first column names the rows."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]


def no_training(scale: Scale) -> tuple[Recipe, ...]:
    """The plan of a study that needs no training of the frame's."""
    return ()


@dataclass(frozen=True)
class Study:
    """A question put to networks.

    plan: the trainings of one seed, the longest first; analyse: what is measured on them, as plain values; judge: a
    verdict for each claim, in their order; table and draw: from the findings to rows and to a figure of `size` inches;
    reading: how the figure is read, in a sentence or two; departures: where this is not what the paper did; foreign:
    whether it also examines others' weights (--weights).
    """

    name: str
    title: str
    question: str
    claims: tuple[Claim, ...]
    plan: Callable[[Scale], Sequence[Recipe]]
    analyse: "Callable[[Bench], Findings]"
    judge: Callable[[Mapping[str, Claim], Scale, Findings], Sequence[Verdict]]
    table: Callable[[Findings], Table]
    draw: "Callable[[Findings, Figure], None]"
    size: tuple[float, float]
    reading: str
    departures: tuple[str, ...] = field(default=())
    foreign: bool = False

    def named(self) -> dict[str, Claim]:
        """The claims by their names."""
        return {claim.name: claim for claim in self.claims}
