"""The remaining time of a run, from its recent steps and its last validation."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from skipway.training.recipes import Recipe
from skipway.training.time_estimate import FORWARD

Clock = Callable[[], float]  # seconds, from any start

RECENT = 50  # steps that the current speed is measured on
ENOUGH_STEPS, ENOUGH_SECONDS = 10, 5.0  # timed, either of which is enough for an estimate of the whole run


@dataclass(frozen=True)
class Plan:
    """The steps and costs of a run. `total`: its steps; `steps`: those of an epoch.

    Costs are relative to a step that trains the whole network on whole crops: `costs`: of a step, by
    epoch; `validation`: of one validation, 0 where there is no val. `val_every`: epochs between validations.
    """

    total: int
    steps: int
    costs: Sequence[float]
    validation: float
    val_every: int = 1

    @property
    def epochs(self) -> int:
        return len(self.costs)

    def validated(self, epoch: int) -> bool:
        """Whether there is a validation after `epoch`, counted from 1: every `val_every`-th, and the last."""
        return epoch % self.val_every == 0 or epoch == self.epochs

    def validations_after(self, epochs: int) -> int:
        """The number of validations after the first `epochs` epochs."""
        return sum(self.validated(epoch) for epoch in range(epochs + 1, self.epochs + 1))

    def cost_from(self, step: int) -> float:
        """The cost of all steps after the first `step`."""
        ends = (min((epoch + 1) * self.steps, self.total) for epoch in range(self.epochs))
        left = (max(end - max(epoch * self.steps, step), 0) for epoch, end in enumerate(ends))
        return sum(cost * steps for cost, steps in zip(self.costs, left, strict=True))


def plan_of(recipe: Recipe, size: int, total: int, steps: int, val_images: int) -> Plan:
    """The plan of a run of `recipe` on crops of `size` pixels a side, whose val has `val_images` images.

    A step costs in proportion to the pixels of its crops, and FORWARD where only the classifier learns.
    """

    def cost(epoch: int) -> float:
        cropped = recipe.crop_size if recipe.crop == "scale" else 0
        side = recipe.small if epoch < recipe.small_epochs else cropped or size
        area = (side / size) ** 2
        return area * (FORWARD if recipe.only_head or epoch < recipe.freeze else 1.0)

    costs = [cost(epoch) for epoch in range(math.ceil(total / steps))]
    return Plan(total, steps, costs, FORWARD * val_images / recipe.batch, recipe.val_every)


@dataclass(frozen=True)
class ValidationTime:
    """The part of a validation after which a signal is handled: its name, its start, and the longest one so far."""

    part: str
    start: float
    longest: float | None


class ProgressTimer:
    """Times a run's steps and validations, and estimates the remaining time. `clock` returns seconds.

    The first step of a process is not counted: it also waits for memory, worker processes and a compiler.
    """

    def __init__(self, plan: Plan, step: int = 0, clock: Clock = time.monotonic) -> None:
        """step: the number of steps taken before, for a resumed run."""
        self.plan, self.clock = plan, clock
        self.timed: deque[tuple[float, float, int]] = deque(maxlen=RECENT)  # cost, seconds, steps
        self.validation: float | None = None  # seconds of the last one
        self.step = self.first_step = step
        self.since = self.start = clock()
        self.warm = self.reported = False
        self.validating: ValidationTime | None = None  # during a validation

    def elapsed(self) -> float:
        """Seconds since the process started with the run."""
        return self.clock() - self.start

    def begin_epoch(self) -> None:
        self.since = self.clock()

    def step_done(self, step: int) -> None:
        """Call after `step` steps of the run have been computed, not only started."""
        now, taken = self.clock(), step - self.step
        if self.warm:
            cost = self.plan.cost_from(self.step) - self.plan.cost_from(step)
            self.timed.append((cost, now - self.since, taken))
        self.step, self.since, self.warm = step, now, True

    def begin_validation(self, in_parts: bool) -> None:
        """in_parts: whether a signal is handled after each of its batches, not only after the next step."""
        self.since = self.clock()
        part, longest = ("a batch of validation images", None) if in_parts else ("the validation", self.validation)
        self.validating = ValidationTime(part, self.since, longest)

    def validated_batch(self) -> None:
        """Call after each batch of a validation in parts."""
        if self.validating is not None:
            now, longest = self.clock(), self.validating.longest or 0.0
            self.validating = replace(self.validating, start=now, longest=max(now - self.validating.start, longest))

    def end_validation(self) -> None:
        self.validation, self.validating = self.clock() - self.since, None

    def first_estimate_due(self) -> bool:
        """True once: as soon as enough steps are timed to estimate how long the run takes."""
        steps, seconds = (sum(one[i] for one in self.timed) for i in (2, 1))
        if self.reported or not (steps >= ENOUGH_STEPS or seconds >= ENOUGH_SECONDS):
            return False
        self.reported = True
        return True

    def unit(self) -> float | None:
        """Seconds of a step of cost 1; None before a step was timed."""
        cost = sum(cost for cost, _, _ in self.timed)
        return sum(seconds for _, seconds, _ in self.timed) / cost if cost else None

    def left(self, epochs: int) -> float | None:
        """Seconds until the end of the run, `epochs` epochs of which are finished; None before a step was timed."""
        unit = self.unit()
        if unit is None:
            return None
        validation = self.plan.validation * unit if self.validation is None else self.validation
        return self.plan.cost_from(self.step) * unit + validation * self.plan.validations_after(epochs)

    def current_work(self) -> str:
        """What must be finished before the run can stop, and how many seconds that takes at most, as text."""
        part, start, longest = "the step", self.since, self.longest_step()
        if self.validating is not None:
            part, start, longest = self.validating.part, self.validating.start, self.validating.longest
        left = None if longest is None else max(math.ceil(longest - (self.clock() - start)), 1)
        return part if left is None else f"{part}, at most {left} s"

    def longest_step(self) -> float | None:
        """Seconds of the longest of the recent steps, at the cost of the current one; None before a step was timed."""
        current = self.plan.costs[min(self.step // self.plan.steps, self.plan.epochs - 1)]
        return max((seconds / cost * current for cost, seconds, _ in self.timed), default=None)
