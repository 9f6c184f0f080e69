"""Early stopping by the main figure on val, and the weights of the best epoch.

Everything follows from the records of the epochs, so that a run that was resumed stops after the same epoch.
"""

import math
from typing import Any

from skipway.errors import BundleError
from skipway.training.checkpoint_manager import FOLDER, name_of, read
from skipway.training.errors import resume_command
from skipway.training.hooks import best_epoch
from skipway.training.state_codec import load_strict, part
from skipway.training.train_state import TrainRun, TrainState


def patience_is_over(run: TrainRun, records: list[dict[str, Any]]) -> bool:
    """Whether the last `patience` epochs or more had no better figure on val, in any process's view."""
    best, patience = best_epoch(run, records), run.setup.recipe.patience
    if not patience:
        return False
    over = best is not None and best[0] <= len(records) - patience and figure(run) in records[-1]
    return run.group.any_rank(over)[0]


def figure(run: TrainRun) -> str:
    """The name in the records of the figure that is the best on val."""
    return f"val_{run.setup.task.metric}"


def kept_epoch(run: TrainRun, records: list[dict[str, Any]]) -> dict[str, Any]:
    """The epoch whose weights are kept, its figure on val, and the number of epochs; {}: those after the last step."""
    best = best_epoch(run, records)
    if not run.setup.recipe.patience or best is None:
        return {}
    value = records[best[0] - 1][figure(run)]
    early = records[-1]["step"] < run.total
    kept = {"epoch": best[0], "epochs": len(records), "early": early, "figure": figure(run)}
    return kept | ({"value": value} if math.isfinite(value) else {})


def keep_best(run: TrainRun, state: TrainState) -> None:
    """With `patience`, give `state` the weights after the best epoch on val; prints when and why the run ended.

    Raises BundleError where the checkpoint of that epoch is missing or damaged.
    """
    kept, best = kept_epoch(run, state.records), best_epoch(run, state.records)
    if not kept or best is None:
        return
    folder = run.out / FOLDER / name_of(*best)
    if best[0] < len(state.records):
        try:
            tensors = read(folder).tensors
            load_strict(state.net, part(tensors, "net."))
            if state.averaged is not None:
                load_strict(state.averaged, part(tensors, "avg."))
        except BundleError as error:
            why = f"{folder}, the best epoch, cannot be used ({error})"
            raise BundleError(f"{why}: restore it from a copy, then {resume_command(run.out)}") from None
    run.console.print(describe(run, kept), soft_wrap=True)


def describe(run: TrainRun, kept: dict[str, Any]) -> str:
    """When and why the run ended, and which weights are kept, in a line."""
    since = kept["epochs"] - kept["epoch"]
    last = "epoch" if since == 1 else f"{since} epochs"
    ended = f"stopped early after epoch {kept['epochs']}: no better {kept['figure']} in the last {last}"
    text = ended if kept["early"] else f"all {kept['epochs']} epochs were trained"
    value = f" {kept['value']:.4f}" if "value" in kept else ""
    return f"{text}; the weights of epoch {kept['epoch']} are kept, the best {kept['figure']}{value}"
