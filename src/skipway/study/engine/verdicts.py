"""Verdicts on claims from measurements, and the statistics behind them."""

import statistics
from collections.abc import Sequence

from skipway.study.engine.experiment import Claim, Verdict
from skipway.study.engine.scale import RANKS, Scale


def decide_verdict(claim: Claim, scale: Scale, supported: bool | None, measured: str) -> Verdict:
    """The verdict on `claim`. `supported`: True if the measurements support it, False if they contradict it, None if
    they are inconclusive.

    A claim that the scale cannot confirm or refute is not decided, whatever was measured.
    """
    needed = claim.shown_from if supported else claim.refuted_from
    if supported is None or scale.reached_rank < RANKS.index(needed):
        found = {True: "support the claim", False: "contradict the claim", None: "are inconclusive"}[supported]
        reason = f"The measurements {found}. {undecided_reason(claim, scale, supported)}"
        return Verdict(claim.name, "not decided", reason, measured)
    if supported:
        return Verdict(claim.name, "holds", f"Observed at scale {scale.label}: {claim.tolerance}.", measured)
    return Verdict(claim.name, "does not hold", f"{claim.refuted_by} This was observed.", measured)


def undecided_reason(claim: Claim, scale: Scale, supported: bool | None) -> str:
    """Why the scale cannot decide the claim, and which scale could."""
    if not scale.reached_rank:
        return f"Scale {scale.label} only checks that the study runs; scale {claim.shown_from} could confirm the claim."
    if supported is None:
        longer = f" or longer training (scale {RANKS[-1]})" if scale.reached_rank < RANKS.index(RANKS[-1]) else ""
        return f"More seeds{longer} could decide it."
    verb, needed = ("confirm", claim.shown_from) if supported else ("refute", claim.refuted_from)
    return f"Scale {scale.label} is too short to {verb} it; scale {needed} could."


def mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)


def format_mean_std(values: Sequence[float], digits: int = 2, unit: str = "") -> str:
    """Mean and, for several seeds, sample standard deviation as text: "8.75 ± 0.12 (2 seeds)"."""
    if not values:
        return "none"
    if len(values) == 1:
        return f"{values[0]:.{digits}f}{unit} (1 seed)"
    return f"{mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}{unit} ({len(values)} seeds)"


def separated(lower: Sequence[float], higher: Sequence[float], least: float = 0.0) -> bool | None:
    """True if every value of `lower` is below every value of `higher`, and the means differ by `least` or more.

    False if every value of `lower` is above; None if the values overlap or are too close, and for a single seed, whose
    spread is unknown.
    """
    if min(len(lower), len(higher)) < 2 or abs(mean(higher) - mean(lower)) < least:
        return None
    if max(lower) < min(higher):
        return True
    return False if max(higher) < min(lower) else None


def all_seeds(found: Sequence[bool]) -> bool | None:
    """True if all seeds are True, False if none is, None if they disagree or there is a single seed."""
    if len(found) < 2 or len(set(found)) > 1:
        return None
    return found[0]


def all_of(*supported: bool | None) -> bool | None:
    """True if all are True, False if any is False, otherwise None."""
    return False if False in supported else None if None in supported else True
