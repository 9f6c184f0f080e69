"""How long a run still takes: what is left of it, at the pace of its recent steps and its last validation."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from skipway.training.estimate import FORWARD
from skipway.training.recipes import Recipe

Clock = Callable[[], float]  # seconds, from any start

RECENT = 50  # steps that tell the present pace
ENOUGH_STEPS, ENOUGH_SECONDS = 10, 5.0  # timed, of which either tells how long the whole run takes


@dataclass(frozen=True)
class Plan:
    """What a run consists of. `total`: its steps; `steps`: those of an epoch.

    Costs are relative to a step that trains the whole network on whole crops: `costs` those of a step, by epoch;
    `validation` that of judging val once, 0 where there is no val.
    """

    total: int
    steps: int
    costs: Sequence[float]
    validation: float

    @property
    def epochs(self) -> int:
        return len(self.costs)

    def cost_from(self, step: int) -> float:
        """Of all steps after the first `step`."""
        ends = (min((epoch + 1) * self.steps, self.total) for epoch in range(self.epochs))
        left = (max(end - max(epoch * self.steps, step), 0) for epoch, end in enumerate(ends))
        return sum(cost * steps for cost, steps in zip(self.costs, left, strict=True))


def plan_of(recipe: Recipe, size: int, total: int, steps: int, judged: int) -> Plan:
    """The plan of a run of `recipe` on crops of `size` pixels a side, whose val has `judged` images.

    A step costs in proportion to the pixels of its crops, and FORWARD where only the classifier learns.
    """

    def cost(epoch: int) -> float:
        area = (recipe.small / size) ** 2 if epoch < recipe.small_epochs else 1.0
        return area * (FORWARD if recipe.only_head or epoch < recipe.freeze else 1.0)

    costs = [cost(epoch) for epoch in range(math.ceil(total / steps))]
    return Plan(total, steps, costs, FORWARD * judged / recipe.batch)


@dataclass(frozen=True)
class Judging:
    """The part of a validation after which a signal is answered: its name, its start, and the longest one so far."""

    part: str
    began: float
    longest: float | None


class Pace:
    """Times a run's steps and validations, and tells from them what is left. `clock` tells seconds.

    The first step of a process is not counted: it also waits for memory, worker processes and a compiler.
    """

    def __init__(self, plan: Plan, step: int = 0, clock: Clock = time.monotonic) -> None:
        """step: how many a run that is resumed has taken before."""
        self.plan, self.clock = plan, clock
        self.timed: deque[tuple[float, float, int]] = deque(maxlen=RECENT)  # cost, seconds, steps
        self.validation: float | None = None  # seconds of the last one
        self.step = self.begun = step
        self.since = self.start = clock()
        self.warm = self.told = False
        self.judging: Judging | None = None  # during a validation

    def elapsed(self) -> float:
        """Seconds since the process began with the run."""
        return self.clock() - self.start

    def begin_epoch(self) -> None:
        self.since = self.clock()

    def stepped(self, step: int) -> None:
        """After `step` steps of the run, the last of which have been computed and not only been begun."""
        now, taken = self.clock(), step - self.step
        if self.warm:
            cost = self.plan.cost_from(self.step) - self.plan.cost_from(step)
            self.timed.append((cost, now - self.since, taken))
        self.step, self.since, self.warm = step, now, True

    def begin_validation(self, in_parts: bool) -> None:
        """in_parts: whether a signal is answered after each batch of it, not only after the next step."""
        self.since = self.clock()
        part, longest = ("a batch of validation images", None) if in_parts else ("the validation", self.validation)
        self.judging = Judging(part, self.since, longest)

    def judged_batch(self) -> None:
        """After a batch of a validation in parts."""
        if self.judging is not None:
            now, longest = self.clock(), self.judging.longest or 0.0
            self.judging = replace(self.judging, began=now, longest=max(now - self.judging.began, longest))

    def end_validation(self) -> None:
        self.validation, self.judging = self.clock() - self.since, None

    def tells_first(self) -> bool:
        """True once: as soon as enough steps are timed to say how long the run takes."""
        steps, seconds = (sum(one[i] for one in self.timed) for i in (2, 1))
        if self.told or not (steps >= ENOUGH_STEPS or seconds >= ENOUGH_SECONDS):
            return False
        self.told = True
        return True

    def unit(self) -> float | None:
        """Seconds of a step of cost 1; None before one was timed."""
        cost = sum(cost for cost, _, _ in self.timed)
        return sum(seconds for _, seconds, _ in self.timed) / cost if cost else None

    def left(self, epochs: int) -> float | None:
        """Seconds until the end of the run, `epochs` epochs of which are closed; None before a step was timed."""
        unit = self.unit()
        if unit is None:
            return None
        validation = self.plan.validation * unit if self.validation is None else self.validation
        return self.plan.cost_from(self.step) * unit + validation * (self.plan.epochs - epochs)

    def doing(self) -> str:
        """What must be finished before the run can be stopped, and how many seconds that takes at most, in words."""
        part, began, longest = "the step", self.since, self.longest_step()
        if self.judging is not None:
            part, began, longest = self.judging.part, self.judging.began, self.judging.longest
        left = None if longest is None else max(math.ceil(longest - (self.clock() - began)), 1)
        return part if left is None else f"{part}, at most {left} s"

    def longest_step(self) -> float | None:
        """Seconds of the longest of the recent steps, at the cost of the present one; None before one was timed."""
        present = self.plan.costs[min(self.step // self.plan.steps, self.plan.epochs - 1)]
        return max((seconds / cost * present for cost, seconds, _ in self.timed), default=None)
