"""The parts of a study's definition: claims, verdicts, table and functions.

A study is one file that defines `STUDY`. Planning, training, caching and writing are done by runner.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.scale import Scale
from skipway.training.recipes import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure


State = Literal["supports", "speaks against", "no difference seen", "not trained enough to tell"]
Findings = dict[str, Any]  # JSON values; figure and table are made from these alone


@dataclass(frozen=True)
class Claim:
    """A claim of a paper, and what would speak against it.

    sentence: the claim in our words; published: the paper's figures; tolerance: what counts as an effect; refuted_by:
    what speaks against it; fewest_steps: the training steps from which the data can speak for or against it alike;
    published_steps: those of the paper, 0 if it gives none or trains nothing.
    """

    name: str
    sentence: str
    source: str
    published: str
    tolerance: str
    refuted_by: str
    fewest_steps: int = 1_000
    published_steps: int = 64_000


@dataclass(frozen=True)
class Effect:
    """A measured effect, positive where it agrees with the claim, with the half-width of its 95 % interval over seeds.

    what: what was measured, such as "test error, plain56 - plain20"; margin: the smallest effect that counts; seeds:
    of the network with the fewest, or of whatever else `over` says was repeated; equivalence: whether the claim is that
    the effect lies within `margin` of 0.
    """

    what: str
    estimate: float
    half_width: float
    margin: float
    unit: str
    seeds: int
    equivalence: bool = False
    over: Literal["seeds", "rounds"] = "seeds"


@dataclass(frozen=True)
class Verdict:
    """What the data say about a claim: the state with its reason, the measured figures as text, the effects, and the
    steps of training."""

    claim: str
    state: State
    reason: str
    measured: str
    effects: tuple[Effect, ...] = ()
    steps: int = 0


@dataclass(frozen=True)
class Check:
    """A check of the measurement: something that holds by arithmetic or at initialisation, and is no claim.

    tolerance: how exactly it must hold.
    """

    name: str
    sentence: str
    source: str
    tolerance: str


@dataclass(frozen=True)
class CheckResult:
    check: str
    passed: bool
    measured: str


@dataclass(frozen=True)
class Table:
    """A table of text cells with column names; the first column names the rows."""

    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]


def no_training(scale: Scale) -> tuple[Recipe, ...]:
    """The plan of a study without training runs."""
    return ()


def no_checks(findings: Findings) -> tuple[CheckResult, ...]:
    """The results of a study without checks."""
    return ()


@dataclass(frozen=True)
class Study:
    """A question, and the experiment that answers it.

    plan: the training runs of one seed, the longest first; analyse: measurements on them, as JSON values;
    decide_claims: a verdict for each claim, in the order of the claims, from the claims by name, the steps of the
    longest training run and the findings; table and draw: make the table and the figure (of `size` inches) from the
    findings; reading: a short explanation of the figure; departures: differences from the paper; changed: what was
    changed in design or tolerances after a look at results; checks and run_checks: checks of the measurement;
    accepts_weights: whether published weights can be analysed as well (--weights).
    """

    name: str
    title: str
    question: str
    claims: tuple[Claim, ...]
    plan: Callable[[Scale], Sequence[Recipe]]
    analyse: Callable[[ExperimentContext], Findings]
    decide_claims: Callable[[Mapping[str, Claim], int, Findings], Sequence[Verdict]]
    table: Callable[[Findings], Table]
    draw: "Callable[[Findings, Figure], None]"
    size: tuple[float, float]
    reading: str
    departures: tuple[str, ...] = field(default=())
    changed: tuple[str, ...] = field(default=())
    checks: tuple[Check, ...] = field(default=())
    run_checks: Callable[[Findings], Sequence[CheckResult]] = no_checks
    accepts_weights: bool = False

    def claims_by_name(self) -> dict[str, Claim]:
        """The claims by name."""
        return {claim.name: claim for claim in self.claims}
