"""From measurements to what may be said of a claim, and no more than that."""

import statistics
from collections.abc import Sequence

from skipway.study.contract import RANKS, Claim, Scale, Verdict


def settle(claim: Claim, scale: Scale, seen: bool | None, measured: str) -> Verdict:
    """The verdict on `claim`. `seen`: the measurements agree with it, speak against it, or (None) say neither.

    What a scale cannot show or refute is not decided by it, whatever was measured.
    """
    needed = claim.shown_from if seen else claim.refuted_from
    if seen is None or scale.reached < RANKS.index(needed):
        found = {True: "agree with the claim", False: "speak against the claim", None: "tell neither way"}[seen]
        reason = f"The measurements {found}. {beyond(claim, scale, seen)}"
        return Verdict(claim.name, "not decided", reason, measured)
    if seen:
        return Verdict(claim.name, "holds", f"Seen at scale {scale.called}: {claim.tolerance}.", measured)
    return Verdict(claim.name, "does not hold", f"{claim.refuted_by} That is what was measured.", measured)


def beyond(claim: Claim, scale: Scale, seen: bool | None) -> str:
    """What the scale is good for, and which could say more."""
    if not scale.reached:
        return f"Scale {scale.called} only shows that the study runs; scale {claim.shown_from} could show the claim."
    if seen is None:
        longer = f", or longer trainings: scale {RANKS[-1]}" if scale.reached < RANKS.index(RANKS[-1]) else ""
        return f"More seeds could tell{longer}."
    verb, needed = ("show", claim.shown_from) if seen else ("refute", claim.refuted_from)
    return f"Scale {scale.called} is too short to {verb} it; scale {needed} could."


def mean(values: Sequence[float]) -> float:
    return statistics.fmean(values)


def spread(values: Sequence[float], digits: int = 2, unit: str = "") -> str:
    """Mean and, of several seeds, sample standard deviation: "8.75 ± 0.12 (2 seeds)"."""
    if not values:
        return "none"
    if len(values) == 1:
        return f"{values[0]:.{digits}f}{unit} (1 seed)"
    return f"{mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}{unit} ({len(values)} seeds)"


def apart(lower: Sequence[float], higher: Sequence[float], least: float = 0.0) -> bool | None:
    """Whether every value of `lower` is below every one of `higher`, and the means differ by `least` or more.

    False when they are so the other way round; None when they overlap or lie too near, and of a single seed, whose
    spread nobody knows.
    """
    if min(len(lower), len(higher)) < 2 or abs(mean(higher) - mean(lower)) < least:
        return None
    if max(lower) < min(higher):
        return True
    return False if max(higher) < min(lower) else None


def every(found: Sequence[bool]) -> bool | None:
    """Whether it was so for every seed: False when for none, None when for some, and of a single seed."""
    if len(found) < 2 or len(set(found)) > 1:
        return None
    return found[0]


def all_of(*seen: bool | None) -> bool | None:
    """Whether all are so: False when one speaks against it, None when one says neither."""
    return False if False in seen else None if None in seen else True
