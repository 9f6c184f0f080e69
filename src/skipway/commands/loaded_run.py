"""Runs opened for evaluation: one, or several whose outputs are averaged."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from skipway.bundle import Card
from skipway.data.dataset import Dataset
from skipway.data.preprocess import Preprocessing
from skipway.errors import SkipwayError, UnknownNameError
from skipway.evaluation.evaluate import Scorer
from skipway.evaluation.test_time_augmentation import PROTOCOLS, ensemble, summarising
from skipway.hardware import Hardware
from skipway.tasks import Task
from skipway.tasks.base import (
    AS_BUNDLED,
    ENSEMBLE,
    Evaluation,
    Explain,
    SplitOutputs,
)
from skipway.trained import TrainedModel


@dataclass(frozen=True)
class LoadedRun:
    """A run ready for evaluation. run: as it was given; explain: None for several networks; records: those of
    metrics.jsonl."""

    run: str
    folder: Path
    card: Card
    task: Task
    preprocessing: Preprocessing
    scorer: Scorer
    explain: Explain | None
    records: list[dict[str, Any]]

    def evaluate(self, scored: SplitOutputs) -> Evaluation:
        """What was measured, at the card's temperature."""
        return self.task.evaluate(scored, self.card.calibration)


def open_run(run: str | Path, hardware: Hardware, protocol: str = AS_BUNDLED) -> LoadedRun:
    """The bundle `run` on `hardware`'s device. Raises SkipwayError for a bundle or a protocol that cannot be used.

    A temperature and thresholds belong to scores of single views: there are none for another protocol.
    """
    if protocol not in PROTOCOLS:
        raise UnknownNameError("protocol", protocol, PROTOCOLS, f"one of {', '.join(PROTOCOLS)}")
    model = TrainedModel.load(run, hardware)
    card, task = model.card, model.task.for_evaluation(model.net, model.preprocessing, hardware.device)
    own = task.scorer()
    if protocol == AS_BUNDLED:
        scorer = own or summarising(model.net, model.preprocessing, hardware, task.summarise)
    else:
        require_pooling(task)
        scorer = PROTOCOLS[protocol](model.net, model.preprocessing, hardware, task.pool)
        card, task = replace(card, calibration=None), task.chosen_on_val({})
    explain = task.explainer(model.net, model.preprocessing, hardware.device)
    records = read_records(model.folder)
    return LoadedRun(str(run), model.folder, card, task, model.preprocessing, scorer, explain, records)


def require_pooling(task: Task) -> None:
    """Raises SkipwayError for a task whose outputs cannot be averaged."""
    if not task.pools:
        raise SkipwayError(
            f"{task.annotation} of several views or networks are not averaged: leave out --protocol and --ensemble"
        )


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; none where a bundle came without."""
    file = folder / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


# ---------------------------------------------------------------------------------------------------------------------
# One network, or several averaged


def average_runs(runs: Sequence[LoadedRun], dataset: Dataset, mark: str, split: str | None) -> LoadedRun:
    """The mean of the runs' probabilities, each at its own temperature, as one run.

    Raises SkipwayError for runs of other tasks or classes, or that keep other images of `dataset` from training.
    """
    first = runs[0].card
    require_pooling(runs[0].task)
    for run in runs[1:]:
        if (run.card.task, run.card.classes) != (first.task, first.classes):
            raise SkipwayError(
                f"{runs[0].run} and {run.run} differ in task, classes or their order: average runs of the same classes"
            )
    trained_here = [run for run in runs if run.card.data["fingerprint"] == mark]
    cuts = {(run.card.recipe["val"], run.card.recipe["seed"]) for run in trained_here}
    if len(cuts) > 1 and dataset.val is None and (split or dataset.eval_split()) != "test":
        raise SkipwayError(
            f"each run cut its own val from {dataset.name} and learned from the others' (--val, --seed): evaluate on "
            "test, or on data that none was trained on"
        )
    of = trained_here[0] if trained_here else runs[0]
    lead = of.card
    card = replace(
        lead,
        network={**lead.network, "name": " + ".join(run.card.network["name"] for run in runs)},
        recipe={"name": ENSEMBLE, "pretrained": "", "members": [run.run for run in runs]}
        | {key: lead.recipe[key] for key in ("val", "seed") if key in lead.recipe},
        parameters=sum(run.card.parameters for run in runs),
        seconds=sum(run.card.seconds for run in runs),
        calibration=None,
    )
    scorer = ensemble([calibrated_scorer(run) for run in runs], runs[0].task.pool)
    task = of.task.chosen_on_val({})  # thresholds are of one network's probabilities
    return replace(of, run=card.network["name"], card=card, task=task, scorer=scorer, explain=None, records=[])


def calibrated_scorer(run: LoadedRun) -> Scorer:
    """The run's scores at its own temperature."""
    return lambda images: (run.scorer(images)[0] / run.card.temperature,)
