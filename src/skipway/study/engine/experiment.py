"""The parts of a study's definition: claims, verdicts, table and functions.

A study is one file that defines `STUDY`. Planning, training, caching and writing are done by runner.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.scale import Scale, ScaleName
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure


State = Literal["holds", "does not hold", "not decided"]
Findings = dict[str, Any]  # JSON values; figure and table are made from these alone


@dataclass(frozen=True)
class Claim:
    """A claim of a paper, and what would refute it.

    sentence: the claim in our words; published: the paper's figures; tolerance: how close a measurement must be, or
    what counts as a difference; shown_from, refuted_from: the smallest scale whose result can confirm or refute it.
    Short training runs can confirm a claim about long ones, but cannot refute it.
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
class Verdict:
    """The verdict on a claim, the reason, and the measured figures."""

    claim: str
    state: State
    reason: str
    measured: str


@dataclass(frozen=True)
class Table:
    """A table of text cells with column names; the first column names the rows."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]


def no_training(scale: Scale) -> tuple[Recipe, ...]:
    """The plan of a study without training runs."""
    return ()


@dataclass(frozen=True)
class Study:
    """A question, and the experiment that answers it.

    plan: the training runs of one seed, the longest first; analyse: measurements on them, as JSON values;
    decide_claims: a verdict for each claim, in the order of the claims; table and draw: make the table and the figure
    (of `size` inches) from the findings; reading: a short explanation of the figure; departures: differences from the
    paper; accepts_weights: whether published weights can be analysed as well (--weights).
    """

    name: str
    title: str
    question: str
    claims: tuple[Claim, ...]
    plan: Callable[[Scale], Sequence[Recipe]]
    analyse: Callable[[ExperimentContext], Findings]
    decide_claims: Callable[[Mapping[str, Claim], Scale, Findings], Sequence[Verdict]]
    table: Callable[[Findings], Table]
    draw: "Callable[[Findings, Figure], None]"
    size: tuple[float, float]
    reading: str
    departures: tuple[str, ...] = field(default=())
    accepts_weights: bool = False

    def claims_by_name(self) -> dict[str, Claim]:
        """The claims by name."""
        return {claim.name: claim for claim in self.claims}
