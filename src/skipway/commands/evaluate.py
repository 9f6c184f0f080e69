"""Evaluate one run, the average of several, or several compared."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console

from skipway import bundle
from skipway.bundle import Card
from skipway.bundle.hub import output_folder
from skipway.commands.arguments import QUIET, Folder, as_data, as_paths, ensure_folder, resolve_hardware
from skipway.commands.loaded_run import (
    LoadedRun,
    average_runs,
    open_run,
)
from skipway.commands.unlabelled import open_images
from skipway.data.dataset import Dataset
from skipway.deploy.training_data import read_options_of, reopen_dataset
from skipway.errors import DataError, SkipwayError, refuse_if
from skipway.evaluation.evaluate import score
from skipway.evaluation.far import FarResult, measure_far, require_scores
from skipway.evaluation.report import Report, write_report
from skipway.hardware import Hardware
from skipway.tasks import Task
from skipway.tasks.base import (
    AS_BUNDLED,
    Comparison,
    Evaluation,
    ReportContext,
    SplitOutputs,
)
from skipway.tasks.generate.classifier_features import ClassifierFeatures
from skipway.tasks.generate.sample_evaluation import SampleEvaluation
from skipway.trained import TrainedModel
from skipway.training.recipes import RECIPES, find_recipe

STYLES = {"error": "bold red", "warning": "yellow"}


@dataclass(frozen=True)
class EvalRequest:
    """What to evaluate and how. data: None for what the first run was trained on; split: None for test, or else val, or
    else all; out: None for a folder below the first run's `reports`; protocol: a name of PROTOCOLS."""

    data: str | Dataset | None
    split: str | None
    out: Path | None
    hardware: Hardware
    console: Console
    protocol: str = AS_BUNDLED


def dataset_of(data: str | Dataset | None, card: Card) -> tuple[Dataset, str]:
    """The data to evaluate on and their fingerprint (see `reopen_dataset`); None: what the network was trained on.

    Raises DataError where what was trained on is not known.
    """
    if data is None and not card.data["fingerprint"]:
        raise DataError("what these weights were trained on is not here: name the images to evaluate them on")
    return reopen_dataset(data, card)


def evaluate_after_training(folder: Path, dataset: Dataset, hardware: Hardware, console: Console) -> Evaluation:
    """The end of a training on `dataset`: fit the temperature on val, evaluate on test (or val), write both into the
    bundle of `folder`, write the report there and print the result."""
    run, mark = open_run(folder, hardware), dataset.fingerprint
    scored: dict[str, SplitOutputs] = {}
    if "val" in run.card.data["counts"]:
        scored["val"] = score(run.card, dataset, mark, "val", run.scorer)
        run = replace(run, card=bundle.add_calibration(folder, run.task.calibrate(scored["val"])))
    if dataset.left_out:
        run = replace(run, card=bundle.add_left_out(folder, dataset.left_out))
    name = dataset.eval_split() if dataset.eval_split() == "test" or "val" not in scored else "val"
    if "val" in scored and name != "val":  # what thresholds are chosen by
        on_val = run.evaluate(scored["val"]).metrics
        bundle.add_metrics(folder, "val", on_val, run.task.summary(on_val))
        run = replace(run, card=bundle.read_card(folder), task=run.task.chosen_on_val({"val": on_val}))
    evaluation = run.evaluate(scored.get(name) or score(run.card, dataset, mark, name, run.scorer))
    bundle.add_metrics(folder, name, evaluation.metrics, run.task.summary(evaluation.metrics))
    command = shlex.join(["skipway", "eval", str(folder), dataset.name])
    write_and_print(folder, run, evaluation, AS_BUNDLED, command, console)
    return evaluation


def evaluate(
    run: Folder | Sequence[Folder],
    data: Folder | Dataset | None = None,
    split: str | None = None,
    out: Folder | None = None,
    hardware: Hardware | None = None,
    console: Console = QUIET,
    protocol: str = AS_BUNDLED,
    classifier: Folder | None = None,
    samples: int = 0,
    inception: Folder | None = None,
    likelihood: int = 0,
    far: Sequence[Folder] = (),
) -> Evaluation:
    """Evaluate a trained network on images, and write report.html and report.json.

    run: the folder of a bundle, or several, whose probabilities are then averaged. data: None for what the (first) run
    was trained on. split: None for test, or else val, or else all. out: the report's folder; None for
    RUN/reports/<data>-<split>. protocol: a name of `evaluation.test_time_augmentation.PROTOCOLS`. far: images of other
    kinds, with or without annotations, that scores of a classifier are to tell apart.

    For generators: classifier: the run of a classifier, in whose features samples are compared with images, and which
    finds their classes; None for the features of the one in the package. samples: how many are generated; 0 for as
    many as suit. inception: a file of Inception's weights, for FID and KID. likelihood: images of the split whose bits
    per dimension are measured. Raises SkipwayError.
    """
    request = request_of(data, split, out, hardware, console, protocol)
    runs = as_paths(run)
    if not runs:
        raise SkipwayError("there is no run to evaluate: name at least one")
    opened, dataset, mark = open_all(runs, request)
    say_if_changed(opened, dataset, mark, request.console)
    asked = {"classifier": classifier, "samples": samples, "inception": inception, "likelihood": likelihood}
    given = {name: value for name, value in asked.items() if value}
    if given:
        options = sample_options(classifier, samples, inception, likelihood, request)
        opened = [replace(one, task=one.task.with_samples(options)) for one in opened]
    several = len(runs) > 1
    chosen = average_runs(opened, dataset, mark, request.split) if several else opened[0]
    others = far_sets(far, chosen.task)
    refuse_if(
        others and (several or protocol != AS_BUNDLED),
        "--far is measured with the scores of one network for one view",
        "leave out --protocol and --ensemble",
    )
    evaluation = chosen.evaluate(score(chosen.card, dataset, mark, request.split, chosen.scorer))
    separated = measure_far(chosen.task, chosen.scorer, evaluation.scored, others)
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    words += [word for place in as_paths(far) for word in ("--far", place)]
    command = command_of(runs, dataset, request, [*words, *(["--ensemble"] if several else [])])
    folder = folder_of(request, opened[0], evaluation, "-ensemble" if several else "")
    write_and_print(folder, chosen, evaluation, request.protocol, command, request.console, separated)
    return evaluation


def say_if_changed(opened: Sequence[LoadedRun], dataset: Dataset, mark: str, console: Console) -> None:
    """Prints where images of this name are others than in a training, some of which may have been learned from: they
    were changed, or it was that of a fold."""
    for run in opened:
        data = run.card.data
        if data["name"] == dataset.name and data["fingerprint"] != mark:
            console.print(
                f"{run.run} was trained on other images of {dataset.name}: it may have learned from some of these",
                style=STYLES["warning"],
                soft_wrap=True,
                markup=False,
            )


def far_sets(far: Folder | Sequence[Folder], task: Task) -> list[Dataset]:
    """The sets of far images, opened before any work. Raises SkipwayError for what is none, and for a network that they
    cannot be told apart by."""
    places = as_paths(far)
    if places:
        require_scores(task)
    return [open_images(place) for place in places]


def sample_options(
    classifier: Folder | None, samples: int, inception: Folder | None, likelihood: int, request: EvalRequest
) -> SampleEvaluation:
    """How samples are evaluated. Raises SkipwayError for a run that is no classifier of one class per image."""

    def say(line: str) -> None:
        request.console.print(line, soft_wrap=True, markup=False)

    options = SampleEvaluation(None, samples, None if inception is None else Path(inception), likelihood, say)
    if classifier is None:
        return options
    model = TrainedModel.load(classifier, request.hardware)
    refuse_if(
        model.task.activation != "softmax", f"{classifier} is no classifier of one class per image", "give another run"
    )
    name, checksum = Path(classifier).name, model.card.weights_sha256
    classes, device = tuple(model.card.classes), request.hardware.device
    features = ClassifierFeatures(name, checksum, model.net, model.preprocessing, classes, device)
    return replace(options, classifier=features)


def request_of(
    data: Folder | Dataset | None,
    split: str | None,
    out: Folder | None,
    hardware: Hardware | None,
    console: Console,
    protocol: str,
) -> EvalRequest:
    """The arguments of `evaluate` in one value. Raises SkipwayError, before any work, where `out` cannot be written."""
    place = None if data is None else as_data(data)
    folder = None if out is None else ensure_folder(Path(out))
    return EvalRequest(place, split, folder, resolve_hardware(hardware), console, protocol)


def open_all(runs: Sequence[str], request: EvalRequest) -> tuple[list[LoadedRun], Dataset, str]:
    """The runs, the data to evaluate them on, and its fingerprint."""
    opened = [open_run(run, request.hardware, request.protocol) for run in runs]
    return opened, *dataset_of(request.data, opened[0].card)


def write_and_print(
    folder: Path,
    run: LoadedRun,
    evaluation: Evaluation,
    protocol: str,
    command: str,
    console: Console,
    far: tuple[FarResult, ...] = (),
) -> None:
    """The report of `evaluation` in `folder`; the result, what speaks against it, and the page's path are printed."""
    context = ReportContext(run.card, run.preprocessing, run.explain, run.records, protocol, previews_of(run.folder))
    report = Report(run.task, evaluation, context, command, training_command(run.card), far)
    page = write_report(folder, report)
    console.print(run.task.reporter.result(evaluation), soft_wrap=True, markup=False)
    for one in far:
        console.print(one.summary(), soft_wrap=True, markup=False)
    for finding in report.findings:
        console.print(finding.summary(), style=STYLES[finding.severity], soft_wrap=True, markup=False)
    console.print(f"report {page}", soft_wrap=True, markup=False)


def previews_of(run: Path) -> tuple[Path, ...]:
    """The pictures that were drawn during a training, in order."""
    return tuple(sorted((run / bundle.PREVIEWS).glob("step-*.png")))


def training_command(card: Card) -> str:
    """What a shell runs to train again: the recipe by its name, and every field that differs from it."""
    if card.recipe["name"] not in RECIPES:
        return ""
    named = json.loads(json.dumps(asdict(find_recipe(card.recipe["name"]))))
    words = ["skipway", "train", card.data["name"], *read_options_of(card).options(), "--recipe", card.recipe["name"]]
    for field, value in card.recipe.items():
        if value != named[field]:
            parts = value if isinstance(value, list) else [value]
            words += [f"--{field.replace('_', '-')}", ",".join(map(str, parts))]
    return shlex.join(words)


def folder_of(request: EvalRequest, first: LoadedRun, evaluation: Evaluation, ending: str) -> Path:
    """Where results go, made where it is missing. Raises SkipwayError where it cannot be."""
    data = Path(evaluation.scored.data).name
    usual = output_folder(first.folder) / "reports" / f"{data}-{evaluation.scored.split}{ending}"
    return ensure_folder(request.out or usual)


def command_of(runs: Sequence[str], dataset: Dataset, request: EvalRequest, ending: Sequence[str]) -> str:
    """The shell command that repeats the evaluation."""
    several = len(runs) > 1
    words = ["skipway", "eval", *map(str, runs), *(["--on"] if several else []), dataset.name]
    words += ["--split", request.split] if request.split else []
    words += ["--protocol", request.protocol] if request.protocol != AS_BUNDLED else []
    return shlex.join([*words, *ending])


# ---------------------------------------------------------------------------------------------------------------------
# Several beside each other


def compare_runs(
    runs: Sequence[Folder],
    data: Folder | Dataset | None = None,
    split: str | None = None,
    out: Folder | None = None,
    hardware: Hardware | None = None,
    console: Console = QUIET,
    protocol: str = AS_BUNDLED,
) -> Comparison:
    """Evaluate every run on the same images, test each against the first, and write comparison.html and .json.

    The arguments are those of `evaluate`. Raises SkipwayError for runs that cannot be compared.
    """
    request = request_of(data, split, out, hardware, console, protocol)
    folders = as_paths(runs)
    if len(folders) < 2:
        raise SkipwayError("at least two runs are compared: name another")
    opened, dataset, mark = open_all(folders, request)
    evaluations = [run.evaluate(score(run.card, dataset, mark, request.split, run.scorer)) for run in opened]
    command = command_of(folders, dataset, request, [])
    found = opened[0].task.reporter.compare([run.run for run in opened], evaluations, command)
    page = write_comparison(folder_of(request, opened[0], evaluations[0], "-comparison"), found)
    request.console.print(f"{found.verdict()}\ncomparison {page}", soft_wrap=True, markup=False)
    return found


def write_comparison(folder: Path, comparison: Comparison) -> Path:
    """comparison.json and comparison.html in `folder`, which exists; returns the page's path."""
    text = json.dumps(comparison.to_json(), indent=1) + "\n"
    bundle.write_atomically(folder / "comparison.json", text.encode())
    page = folder / "comparison.html"
    bundle.write_atomically(page, comparison.page().encode())
    return page
