"""Why a network may have learnt nothing, from its card and records."""

from skipway.tasks.base import ReportContext


def causes(context: ReportContext, few: int, check: str) -> tuple[str, ...]:
    """What to change, the likeliest first: fewer than `few` steps, no pretrained weights, or else the annotations,
    about which `check` is a sentence."""
    steps = context.records[-1]["step"] if context.records else 0
    short = f"it was trained for {steps:,} steps: give more --epochs" if 0 < steps < few else ""
    pretrained = context.card.recipe.get("pretrained")
    scratch = "" if pretrained else "it started without pretrained weights, which needs longer"
    return tuple(filter(None, (short, scratch, check)))
