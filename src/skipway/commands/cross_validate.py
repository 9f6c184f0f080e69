"""Cross-validation: as many trainings as folds, each image evaluated by the network that did not learn from it.

OUT/plan/       run.json, what is trained, and folds.json, how often
OUT/fold-1/     the run of a fold, as `train` leaves it; scores.safetensors is written last, the fold is then finished
OUT/report.html the pooled results, with report.json; results.json has those of the folds too
"""

import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from rich.console import Console
from safetensors.torch import load_file, save

from skipway import bundle
from skipway.bundle import to_json, write_atomically
from skipway.commands.arguments import Folder
from skipway.commands.chosen_training import ChosenTraining, choose_training, read_plan, write_plan
from skipway.commands.evaluate import evaluate_after_training
from skipway.commands.run import Run
from skipway.commands.train import free_folder
from skipway.data.dataset import Dataset
from skipway.data.quality.corrupt import Policy
from skipway.data.read_options import DEFAULT_READ_OPTIONS, ReadOptions
from skipway.data.targets import ClassTargets, MultiLabelTargets, Targets
from skipway.errors import refuse_if
from skipway.evaluation.report import Report, write_report
from skipway.hardware import Hardware
from skipway.json_text import finite_or_null
from skipway.tasks import task_for
from skipway.tasks.base import AS_BUNDLED, CROSS_VALIDATION, Outputs, ReportContext, SplitOutputs
from skipway.trained import preprocessing_of, task_of
from skipway.training.autoconfig import Start
from skipway.training.loop import train as fit
from skipway.training.recipe_keywords import RecipeFields
from skipway.training.recipes import Recipe
from skipway.training.run_manifest import DEFAULT_OPTIONS, RunOptions, has_manifest
from skipway.training.signals import Interrupted

FOLDS, SCORES = "folds.json", "scores.safetensors"


@dataclass(frozen=True)
class CrossValidation:
    """The result. figures: of each fold's network on its fold, by the task's `metric`; metrics: of all images together,
    each by the network that did not learn from it, with their interval."""

    path: Path
    runs: tuple[Run, ...]
    metric: str
    figures: tuple[float, ...]
    metrics: dict[str, Any]

    @property
    def mean(self) -> float:
        """Of the folds' figures."""
        return statistics.fmean(self.figures)

    @property
    def deviation(self) -> float:
        """The standard deviation of the folds' figures, as of a sample."""
        return statistics.stdev(self.figures)


def cross_validate(
    data: Folder | Dataset | None = None,
    folds: int = 5,
    recipe: str | Recipe | None = None,
    out: Folder | None = None,
    hardware: Hardware | None = None,
    console: Console | None = None,
    resume: Folder | None = None,
    bad: Policy = "error",
    options: RunOptions = DEFAULT_OPTIONS,
    changes: Mapping[str, Any] | None = None,
    reading: ReadOptions = DEFAULT_READ_OPTIONS,
    start: Start = "pretrained",
    **fields: Unpack[RecipeFields],
) -> CrossValidation:
    """Train on all but a fold of the images of train, for each of `folds` folds, and evaluate each image once.

    Folds have equal shares of each class. A val split is used by each training as it is, or else cut from what it
    trains on; test is not read. out: the folder of the results, runs/<data>-<model> when None. resume: the folder of an
    interrupted cross-validation, which goes on: finished folds are kept, and the weights of the others are those of a
    run without interruption. The other arguments are those of `train`. Raises SkipwayError.
    """
    refuse_if(data is None and resume is None, "there are no data", "name them, or a folder to resume")
    if resume is not None:
        folder = Path(resume)
        chosen, folds = read_plan(folder, FOLDS, "cross-validation", itemgetter("folds"), hardware, console)
        folded = folds_of(chosen, folds)
    else:
        chosen = choose_training(
            data or "", recipe, hardware, console, bad, {**(changes or {}), **fields}, reading, start, options
        )
        folded = folds_of(chosen, folds)
        folder = Path(out) if out is not None else free_folder(chosen.dataset, chosen.recipe)
        write_plan(folder, chosen, FOLDS, {"folds": folds})
    evaluations = []
    for number, dataset in enumerate(folded, 1):
        chosen.console.print(f"fold {number} of {folds}", soft_wrap=True)
        try:
            evaluations.append(outputs_of_fold(folder / f"fold-{number}", dataset, chosen))
        except Interrupted as stopped:
            again = shlex.join(["skipway", "cross-validate", "--resume", str(folder)])
            raise Interrupted(stopped.args[0], stopped.args[1], again) from None
    return pooled(folder, chosen, folded, evaluations)


def folds_of(chosen: ChosenTraining, folds: int) -> list[Dataset]:
    """A data set for each fold, which is its test split. Raises SkipwayError for folds that cannot be made."""
    dataset, seed = chosen.dataset, chosen.recipe.seed
    made = task_for(dataset).generates
    refuse_if(made, "cross-validation is for predictions, and this generates images", "use `skipway train`")
    places = fold_places(dataset.train.targets, dataset.classes, folds, seed)
    rest = [np.setdiff1d(np.arange(len(dataset.train)), fold) for fold in places]
    return [
        replace(dataset, train=dataset.train.take(others), test=dataset.train.take(fold))
        for others, fold in zip(rest, places, strict=True)
    ]


def fold_places(targets: Targets, classes: Sequence[str], folds: int, seed: int) -> list[np.ndarray]:
    """The places of each fold's images, in order: scikit-learn's StratifiedKFold for one class an image, iterative
    stratification (Sechidis 2011) for several, and KFold otherwise; shuffled by `seed`.

    Raises SkipwayError where there are fewer than two folds, or a class has fewer images than folds.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    refuse_if(not 2 <= folds <= len(targets), f"--folds {folds} is not from 2 to {len(targets)}", "give another number")
    nothing = np.zeros(len(targets))
    if isinstance(targets, ClassTargets):
        counts = targets.counts(len(classes))
        rarest = int(np.where(counts > 0, counts, len(targets) + 1).argmin())
        few = f"class '{classes[rarest]}' has {counts[rarest]} images, fewer than {folds} folds"
        refuse_if(counts[rarest] < folds, few, f"give --folds {counts[rarest]} or fewer, or more images")
        divided = StratifiedKFold(folds, shuffle=True, random_state=seed).split(nothing, targets.labels)
        return [np.sort(fold) for _, fold in divided]
    if not isinstance(targets, MultiLabelTargets):
        return [np.sort(fold) for _, fold in KFold(folds, shuffle=True, random_state=seed).split(nothing)]
    rng, left, found = np.random.default_rng(seed), np.arange(len(targets)), []
    for more in range(folds - 1, 0, -1):
        chosen = targets.take(left).hold_out(len(classes), 1 / (more + 1), rng)
        found.append(left[chosen])
        left = np.delete(left, chosen)
    return [*found, left]


def outputs_of_fold(folder: Path, dataset: Dataset, chosen: ChosenTraining) -> tuple[float, Outputs]:
    """Train and evaluate a fold, or go on where that was interrupted: its figure, and the outputs for its images."""
    file = folder / SCORES
    if not file.is_file():
        again = has_manifest(folder)
        fit(dataset, chosen.recipe, folder, chosen.hardware, chosen.console, again, chosen.options)
        evaluation = evaluate_after_training(folder, dataset, chosen.hardware, chosen.console)
        outputs = {str(i): output.contiguous() for i, output in enumerate(evaluation.scored.outputs)}
        write_atomically(file, save(outputs))
    card, outputs = bundle.read_card(folder), load_file(file)
    ordered = [outputs[str(i)] for i in range(len(outputs))]
    if "temperature" in (card.calibration or {}):
        ordered[0] = ordered[0] / card.temperature
    return float(card.metrics["test"][task_of(card).metric]), tuple(ordered)


def pooled(
    folder: Path, chosen: ChosenTraining, folded: Sequence[Dataset], evaluated: Sequence[tuple[float, Outputs]]
) -> CrossValidation:
    """The results of all folds together, in the order of train, and their report.

    What each fold chose on its own val is of its network alone: the tags of all together are predicted at THRESHOLD.
    """
    runs = tuple(Run(folder / f"fold-{i}") for i in range(1, len(folded) + 1))
    card, dataset = replace(runs[0].card, calibration=None, metrics={}, summaries={}), chosen.dataset
    places = np.concatenate(fold_places(dataset.train.targets, dataset.classes, len(folded), chosen.recipe.seed))
    order = torch.from_numpy(np.argsort(places))
    outputs = tuple(torch.cat(parts)[order] for parts in zip(*(found for _, found in evaluated), strict=True))
    task = task_of(card)
    scored = SplitOutputs(
        dataset.name,
        CROSS_VALIDATION,
        tuple(card.classes),
        dataset.train,
        dataset.fingerprint,
        False,
        dataset.left_out,
        outputs,
        0.0,
    )
    evaluation = task.evaluate(scored, None)
    found = CrossValidation(folder, runs, task.metric, tuple(figure for figure, _ in evaluated), evaluation.metrics)
    card = replace(
        card,
        recipe={"name": CROSS_VALIDATION, "members": [str(run) for run in runs], "spread": spread(found)},
        seconds=sum(run.card.seconds for run in runs),
    )
    write_results(folder, found, Report(task, evaluation, context_of(card), command_of(folder), ""))
    chosen.console.print(task.reporter.result(evaluation), soft_wrap=True, markup=False)
    chosen.console.print(spread(found), soft_wrap=True)
    chosen.console.print(f"report {folder / 'report.html'}", soft_wrap=True, markup=False)
    return found


def context_of(card: bundle.Card) -> ReportContext:
    return ReportContext(card, preprocessing_of(card), None, [], AS_BUNDLED)


def command_of(folder: Path) -> str:
    return shlex.join(["skipway", "cross-validate", "--resume", str(folder)])


def spread(found: CrossValidation) -> str:
    """The figures of the folds, their mean and deviation, in a line."""
    each = ", ".join(f"{figure:.4f}" for figure in found.figures)
    return f"{found.metric} by fold: {each}; mean {found.mean:.4f}, deviation {found.deviation:.4f}"


def write_results(folder: Path, found: CrossValidation, report: Report) -> None:
    """results.json, report.json and report.html in `folder`."""
    values = {
        "metric": found.metric,
        "folds": found.figures,
        "mean": found.mean,
        "deviation": found.deviation,
        "pooled": found.metrics,
    }
    write_atomically(folder / "results.json", to_json(finite_or_null(values)))
    write_report(folder, report)
