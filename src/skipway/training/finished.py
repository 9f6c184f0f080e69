"""The result of a finished run, read from its folder."""

from pathlib import Path

from skipway import bundle
from skipway.errors import BundleError
from skipway.tasks import task_named

REPORT = "report.html"


def finished_run(out: Path) -> str | None:
    """The result of the run in `out` and how to train longer, in one line; None for an unfinished run.

    A run is finished when its network is intact, was evaluated, and has its report.
    """
    try:
        card = bundle.read_card(out)
    except BundleError:
        return None
    records = out / "metrics.jsonl"
    if not card.metrics or not (out / REPORT).is_file() or not records.is_file():
        return None
    epochs = len(records.read_text().splitlines())
    task = task_named(card.task, card.classes)
    results = ", ".join(f"{split} {task.summary(metrics)}" for split, metrics in card.metrics.items())
    length = "--iterations" if card.recipe.get("iterations") else "--epochs"
    length = "--patience" if card.kept.get("early") else length
    return (
        f"{out} is finished: {epochs} epoch{'s' if epochs > 1 else ''}, {results}; report {out / REPORT}; "
        f"to train longer, start a new run with a larger {length}"
    )
