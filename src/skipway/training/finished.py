"""A run that is finished: what came of it, without training or judging anything again."""

from pathlib import Path

from skipway import bundle
from skipway.errors import BundleError

REPORT = "report.html"


def finished_run(out: Path) -> str | None:
    """What came of the run in `out` and how to train longer, in a line; None where something is left to be done.

    A run is finished when its network is whole, was judged, and has its report.
    """
    try:
        card = bundle.read_card(out)
    except BundleError:
        return None
    records = out / "metrics.jsonl"
    if not card.metrics or not (out / REPORT).is_file() or not records.is_file():
        return None
    epochs = len(records.read_text().splitlines())
    judged = ", ".join(f"{split} {bundle.headline(metrics)}" for split, metrics in card.metrics.items())
    length = "--iterations" if card.recipe["iterations"] else "--epochs"
    return (
        f"{out} is finished: {epochs} epoch{'s' if epochs > 1 else ''}, {judged}; report {out / REPORT}; "
        f"to train longer start anew with a larger {length}"
    )
