"""Verdicts on claims from effects, and the statistics behind them.

The data speak for or against a claim by the same rule: the 95 % interval of the effect, over the seeds, lies on one
side of 0, and the effect is at least as large as what counts.
"""

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

from skipway.study.engine.experiment import Claim, Effect, State, Verdict

CONFIDENCE = 0.95
FEWEST_SEEDS = 3  # that decide: with two, the deviation is hardly known
UNTRAINED: State = "not trained enough to tell"


def decide(claim: Claim, steps: int, effects: Sequence[Effect], measured: str, shortfall: str = "") -> Verdict:
    """The verdict on `claim`, of which each of `effects` is a part that must agree.

    steps: of training; measured: the figures as text; shortfall: why training was not enough, whatever was measured.
    """
    if steps < claim.fewest_steps and not shortfall:
        shortfall = f"{extent(claim, steps)}; the claim needs at least {claim.fewest_steps:,}"
    state = combined([state_of(effect) for effect in effects]) if effects and not shortfall else UNTRAINED
    return Verdict(
        claim.name, state, reason_for(claim, steps, state, effects, shortfall), measured, tuple(effects), steps
    )


def state_of(effect: Effect) -> State:
    """What one effect says."""
    low, high = effect.estimate - effect.half_width, effect.estimate + effect.half_width
    if effect.seeds < FEWEST_SEEDS or not math.isfinite(effect.estimate):
        return UNTRAINED
    if effect.equivalence:
        if -effect.margin <= low and high <= effect.margin:
            return "supports"
        return "speaks against" if low > effect.margin or high < -effect.margin else UNTRAINED
    if abs(effect.estimate) < effect.margin or low <= 0 <= high:
        return "no difference seen"
    return "supports" if effect.estimate > 0 else "speaks against"


def combined(states: Sequence[State]) -> State:
    """What several effects say of one claim, each of which must agree: against it, if one speaks against it."""
    order: tuple[State, ...] = ("speaks against", UNTRAINED, "no difference seen", "supports")
    return min(states, key=order.index)


def reason_for(claim: Claim, steps: int, state: State, effects: Sequence[Effect], shortfall: str) -> str:
    """The reason of a verdict as one or two sentences."""
    where = sentence(extent(claim, steps))
    if shortfall:
        return sentence(shortfall)
    if state == "speaks against":
        return f"{claim.refuted_by} {where}"
    if state == UNTRAINED and not effects:
        return f"Not measured. {where}"
    if state == UNTRAINED:
        few = min(effect.seeds for effect in effects)
        if few < FEWEST_SEEDS:
            return f"{few} seed{'s' * (few != 1)}; a verdict needs {FEWEST_SEEDS}. {where}"
        if not all(math.isfinite(effect.estimate) for effect in effects):
            return f"A figure is not finite. {where}"
        return f"The interval is wider than what counts: more seeds could tell. {where}"
    if state == "no difference seen":
        effect = next(effect for effect in effects if state_of(effect) == state)
        small = abs(effect.estimate) < effect.margin
        why = "An effect is smaller than what counts" if small else "The interval of an effect contains 0"
        return f"{why}. {where}"
    return f"{sentence(claim.tolerance)} {where}"


def extent(claim: Claim, steps: int) -> str:
    """The length of training beside the paper's, as text."""
    if not steps:
        return "before training" if claim.published_steps else "no training needed"
    if claim.published_steps and steps != claim.published_steps:
        return f"{steps:,} steps of the paper's {claim.published_steps:,}"
    return f"{steps:,} steps"


def sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


# ---------------------------------------------------------------------------------------------------------------------
# Effects


def difference(
    lower: Sequence[float], higher: Sequence[float], what: str, margin: float = 0.0, unit: str = ""
) -> Effect:
    """By how much the mean of `higher` is above that of `lower`, with an interval from the pooled deviation over seeds
    (Student's t). Infinitely wide for a single seed."""
    degrees = len(lower) + len(higher) - 2
    seeds = min(len(lower), len(higher))
    half = math.inf
    if seeds > 1 and are_finite(lower) and are_finite(higher):
        pooled = sum((len(each) - 1) * statistics.variance(each) for each in (lower, higher)) / degrees
        half = quantile(degrees) * math.sqrt(pooled * (1 / len(lower) + 1 / len(higher)))
    return Effect(what, mean(higher) - mean(lower), half, margin, unit, seeds)


def paired_difference(
    lower: Sequence[float], higher: Sequence[float], what: str, margin: float = 0.0, unit: str = ""
) -> Effect:
    """By how much `higher` is above `lower` where both were measured on the same networks, one value a seed."""
    return above(0.0, [b - a for a, b in zip(lower, higher, strict=True)], what, margin, unit)


def are_finite(values: Sequence[float]) -> bool:
    return all(map(math.isfinite, values))


def above(threshold: float, values: Sequence[float], what: str, margin: float = 0.0, unit: str = "") -> Effect:
    """By how much the mean of `values`, one a seed, is above `threshold`, with an interval from their deviation."""
    half = math.inf
    if len(values) > 1 and are_finite(values):
        half = quantile(len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Effect(what, mean(values) - threshold, half, margin, unit, len(values))


def below(threshold: float, values: Sequence[float], what: str, margin: float = 0.0, unit: str = "") -> Effect:
    """By how much the mean of `values` is below `threshold`."""
    return above(-threshold, [-value for value in values], what, margin, unit)


def close_to(target: float, values: Sequence[float], what: str, margin: float, unit: str = "") -> Effect:
    """By how much the mean of `values`, one a seed, is above `target`, of a claim that it is within `margin` of it."""
    return replace(above(target, values, what, margin, unit), equivalence=True)


def quantile(degrees: int) -> float:
    """The quantile of Student's t distribution that bounds a two-sided interval."""
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, degrees))


def format_effect(effect: Effect) -> str:
    """An effect as text: "test error, plain56 - plain20: +33.70 ± 0.61 points"."""
    unit = f" {effect.unit}" if effect.unit else ""
    digits = digits_of(effect.half_width)
    half = f" ± {effect.half_width:.{digits}f}" if math.isfinite(effect.half_width) else ""
    return f"{effect.what}: {effect.estimate:+.{digits}f}{half}{unit}"


def digits_of(half_width: float) -> int:
    """The decimals with which an interval of this half-width has two significant digits, at least 2."""
    if not half_width or not math.isfinite(half_width):
        return 2
    return max(2, 1 - math.floor(math.log10(half_width)))


def mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)


def format_mean_std(values: Sequence[float], digits: int = 2, unit: str = "") -> str:
    """Mean and, for several seeds, sample standard deviation as text: "8.75 ± 0.12 (2 seeds)"."""
    if not values:
        return "none"
    if len(values) == 1:
        return f"{values[0]:.{digits}f}{unit} (1 seed)"
    deviation = statistics.stdev(values) if are_finite(values) else math.nan
    return f"{mean(values):.{digits}f} ± {deviation:.{digits}f}{unit} ({len(values)} seeds)"
