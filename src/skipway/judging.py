"""Runs judged: opened, scored, measured and written down; alone, averaged, or beside each other."""

import json
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from skipway import bundle, models
from skipway.bundle import Card
from skipway.data.preprocess import Preprocessing
from skipway.data.source import Source, fingerprint
from skipway.deploy.training_data import opened_again, reading_of
from skipway.errors import DataError, SkipwayError, UnknownNameError
from skipway.evaluation.comparison import Comparison, compare, verdict, write_comparison
from skipway.evaluation.evaluate import Evaluation, Scored, Scorer, calibrate, measure, score
from skipway.evaluation.gallery import Explain, explain_with, gallery
from skipway.evaluation.protocols import PROTOCOLS, TAG_PROTOCOLS, ensemble, mean_sigmoid, mean_softmax
from skipway.evaluation.report import Report, write_report
from skipway.evaluation.wording import AS_BUNDLED, ENSEMBLE, result
from skipway.hardware import Hardware
from skipway.training.recipes import RECIPES, find_recipe

STYLES = {"error": "bold red", "warning": "yellow"}


@dataclass(frozen=True)
class Judged:
    """A run ready to be judged. run: as it was given; explain: None for several networks; records: metrics.jsonl's."""

    run: str
    card: Card
    scorer: Scorer
    explain: Explain | None
    records: list[dict[str, Any]]

    @property
    def preprocessing(self) -> Preprocessing:
        return Preprocessing(**self.card.preprocessing)


@dataclass(frozen=True)
class Order:
    """What to judge and how. data: None for what the first run was trained on; split: None for test, or else val, or
    else all; out: None for a folder below the first run's `reports`; protocol: a name of PROTOCOLS."""

    data: str | Source | None
    split: str | None
    out: Path | None
    hardware: Hardware
    console: Console
    protocol: str = AS_BUNDLED


def open_run(run: str | Path, hardware: Hardware, protocol: str = AS_BUNDLED) -> Judged:
    """The bundle `run` on `hardware`'s device. Raises SkipwayError for a bundle or a protocol that cannot be used.

    A temperature belongs to scores of single views: the card has none for another protocol.
    """
    if protocol not in PROTOCOLS:
        raise UnknownNameError("protocol", protocol, PROTOCOLS, f"one of {', '.join(PROTOCOLS)}")
    net, card = bundle.load(Path(run), models.build)
    net, preprocessing = hardware.place(net), Preprocessing(**card.preprocessing)
    scorer = (TAG_PROTOCOLS if card.task == "tag" else PROTOCOLS)[protocol](net, preprocessing, hardware)
    if protocol != AS_BUNDLED:
        card = replace(card, calibration=None)
    return Judged(str(run), card, scorer, explain_with(net, preprocessing, hardware.device), read_records(Path(run)))


def source_of(data: str | Source | None, card: Card) -> tuple[Source, str]:
    """The data to judge on and their fingerprint (see `opened_again`); None: what the network was trained on.

    Raises DataError where what was trained on is not known.
    """
    if data is None and not card.data["fingerprint"]:
        raise DataError("what these weights were trained on is not here: name the images to judge them on")
    return opened_again(data, card)


def read_records(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; none where a bundle came without."""
    file = folder / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


# ---------------------------------------------------------------------------------------------------------------------
# One network, or several averaged


def conclude(folder: Path, source: Source, hardware: Hardware, console: Console) -> Evaluation:
    """The end of a training on `source`: fit the temperature on val, judge on test (or val), keep both in the bundle of
    `folder`, write the report there and say the result."""
    run, mark = open_run(folder, hardware), fingerprint(source)
    scored: dict[str, Scored] = {}
    if "val" in run.card.data["counts"]:
        scored["val"] = score(run.card, source, mark, "val", run.scorer)
        run = replace(run, card=bundle.add_calibration(folder, calibrate(run.card, scored["val"])))
    if source.left_out:
        run = replace(run, card=bundle.add_left_out(folder, source.left_out))
    name = source.judged_on() if source.judged_on() == "test" or "val" not in scored else "val"
    evaluation = measure(run.card, scored.get(name) or score(run.card, source, mark, name, run.scorer))
    bundle.add_metrics(folder, name, evaluation.metrics)
    command = shlex.join(["skipway", "eval", str(folder), source.name])
    written(folder, run, evaluation, AS_BUNDLED, command, console)
    return evaluation


def evaluate(runs: Sequence[str | Path], order: Order) -> Evaluation:
    """Judge a run, or the average of several, and write report.html and report.json. Raises SkipwayError."""
    if order.out is not None:
        made(order.out)  # before the work, not after it
    opened = [open_run(run, order.hardware, order.protocol) for run in runs]
    source, mark = source_of(order.data, opened[0].card)
    run = opened[0] if len(opened) == 1 else averaged(opened, source, mark, order.split)
    evaluation = measure(run.card, score(run.card, source, mark, order.split, run.scorer))
    command = command_of(runs, source, order, ["--ensemble"] if len(runs) > 1 else [])
    folder = folder_of(order, opened[0], evaluation, "-ensemble" if len(runs) > 1 else "")
    written(folder, run, evaluation, order.protocol, command, order.console)
    return evaluation


def averaged(runs: Sequence[Judged], source: Source, mark: str, split: str | None) -> Judged:
    """The mean of the runs' probabilities, each at its own temperature, as one run.

    Raises SkipwayError for runs of other tasks or classes, or that keep other images of `source` from training.
    """
    first = runs[0].card
    for run in runs[1:]:
        if (run.card.task, run.card.classes) != (first.task, first.classes):
            raise SkipwayError(
                f"{runs[0].run} and {run.run} differ in task, classes or their order: average runs of the same classes"
            )
    trained_here = [run.card for run in runs if run.card.data["fingerprint"] == mark]
    cuts = {(card.recipe["val"], card.recipe["seed"]) for card in trained_here}
    if len(cuts) > 1 and source.val is None and (split or source.judged_on()) != "test":
        raise SkipwayError(
            f"each run cut its own val from {source.name} and learned from the others' (--val, --seed): judge them on "
            "test, or on data that none was trained on"
        )
    lead = trained_here[0] if trained_here else first
    card = replace(
        lead,
        network={**lead.network, "name": " + ".join(run.card.network["name"] for run in runs)},
        recipe={"name": ENSEMBLE, "pretrained": "", "members": [run.run for run in runs]}
        | {key: lead.recipe[key] for key in ("val", "seed") if key in lead.recipe},
        parameters=sum(run.card.parameters for run in runs),
        seconds=sum(run.card.seconds for run in runs),
        calibration=None,
    )
    pool = mean_sigmoid if card.task == "tag" else mean_softmax
    return Judged(card.network["name"], card, ensemble([tempered(run) for run in runs], pool), None, [])


def tempered(run: Judged) -> Scorer:
    """The run's scores at its own temperature."""
    return lambda images: run.scorer(images) / run.card.temperature


def written(folder: Path, run: Judged, evaluation: Evaluation, protocol: str, command: str, console: Console) -> None:
    """The report of `evaluation` in `folder`; the result, what speaks against it, and the page's path are said."""
    shown = gallery(evaluation, run.preprocessing, run.explain)
    report = Report(evaluation, run.card, shown, run.records, protocol, command, training_command(run.card))
    page = write_report(folder, report)
    console.print(result(evaluation), soft_wrap=True, markup=False)
    for finding in report.findings:
        console.print(finding.in_words(), style=STYLES[finding.severity], soft_wrap=True, markup=False)
    console.print(f"report {page}", soft_wrap=True, markup=False)


def training_command(card: Card) -> str:
    """What a shell runs to train again: the recipe by its name, and every field that differs from it."""
    if card.recipe["name"] not in RECIPES:
        return ""
    named = json.loads(json.dumps(asdict(find_recipe(card.recipe["name"]))))
    words = ["skipway", "train", card.data["name"], *reading_of(card).options(), "--recipe", card.recipe["name"]]
    for field, value in card.recipe.items():
        if value != named[field]:
            parts = value if isinstance(value, list) else [value]
            words += [f"--{field.replace('_', '-')}", ",".join(map(str, parts))]
    return shlex.join(words)


def folder_of(order: Order, first: Judged, evaluation: Evaluation, ending: str) -> Path:
    """Where results go, made where it is missing. Raises SkipwayError where it cannot be."""
    data = Path(evaluation.scored.data).name
    return made(order.out or Path(first.run, "reports", f"{data}-{evaluation.scored.split}{ending}"))


def made(folder: Path) -> Path:
    """`folder`, which is there afterwards. Raises SkipwayError where it cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as fault:
        raise SkipwayError(f"{folder} cannot be written ({fault.strerror}): choose another --out") from None
    return folder


def command_of(runs: Sequence[str | Path], source: Source, order: Order, ending: Sequence[str]) -> str:
    """What a shell runs to judge again."""
    several = len(runs) > 1
    words = ["skipway", "eval", *map(str, runs), *(["--on"] if several else []), source.name]
    words += ["--split", order.split] if order.split else []
    words += ["--protocol", order.protocol] if order.protocol != AS_BUNDLED else []
    return shlex.join([*words, *ending])


# ---------------------------------------------------------------------------------------------------------------------
# Several beside each other


def compare_runs(runs: Sequence[str | Path], order: Order) -> Comparison:
    """Judge every run on the same images, test each against the first, and write comparison.html and comparison.json.

    Raises SkipwayError for runs that cannot be compared.
    """
    if order.out is not None:
        made(order.out)
    opened = [open_run(run, order.hardware, order.protocol) for run in runs]
    source, mark = source_of(order.data, opened[0].card)
    evaluations = [measure(run.card, score(run.card, source, mark, order.split, run.scorer)) for run in opened]
    names = [run.run for run in opened]
    found = compare(names, evaluations, command_of(runs, source, order, []))
    page = write_comparison(folder_of(order, opened[0], evaluations[0], "-comparison"), found)
    order.console.print(f"{verdict(found)}\ncomparison {page}", soft_wrap=True, markup=False)
    return found
