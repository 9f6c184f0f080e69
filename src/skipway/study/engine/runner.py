"""Run a study: plan, train, measure, decide the claims and write the result."""

import hashlib
import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from skipway.bundle import write_atomically
from skipway.data.dataset import Dataset
from skipway.errors import SkipwayError, UnknownNameError
from skipway.study import STUDIES
from skipway.study.engine import budget
from skipway.study.engine.context import ExperimentContext, TrainedNetwork
from skipway.study.engine.experiment import Study
from skipway.study.engine.pretrained import open_pretrained
from skipway.study.engine.results import Result, checks_of, verdicts_of, write_result
from skipway.study.engine.runs import Machine, StudyRun, open_cut, outcome_of, runs_of
from skipway.study.engine.scale import SCALES, Scale
from skipway.study.engine.verdicts import format_effect
from skipway.study.engine.workers import train_all
from skipway.training.recipes import Recipe
from skipway.training.run_log import commit
from skipway.training.time_estimate import parse_budget


@dataclass(frozen=True)
class Request:
    """The arguments of a study run. seeds: 0 for the scale's number; data, budget, weights: empty if not given; note:
    a remark on the data, stored in the result; out: the folder for training runs, results and reports."""

    study: str
    scale: str = "small"
    seeds: int = 0
    data: str = ""
    budget: str = ""
    weights: str = ""
    note: str = ""
    out: Path = Path("studies")


def find_study(name: str) -> Study:
    """The study named `name`. Raises UnknownNameError with the closest name."""
    if name not in STUDIES:
        raise UnknownNameError("study", name, STUDIES, "`skipway study list` lists all of them")
    return STUDIES[name]


def find_scale(name: str) -> Scale:
    if name not in SCALES:
        raise UnknownNameError("--scale", name, SCALES, f"one of {', '.join(SCALES)}")
    return SCALES[name]


def run_experiment(request: Request, machine: Machine, console: Console) -> Result:
    """Run a study and write its result below `request.out`. Raises SkipwayError for an invalid request."""
    study, scale = find_study(request.study), find_scale(request.scale)
    if request.weights and not study.accepts_weights:
        raise SkipwayError(f"{study.name} does not analyse pretrained weights: leave out --weights")
    if request.seeds < 0:
        raise SkipwayError(f"--seeds must be above 0, not {request.seeds}")
    seconds = parse_budget(request.budget) if request.budget else 0.0
    seeds = request.seeds or scale.seeds
    if request.out.exists() and not request.out.is_dir():
        raise SkipwayError(f"{request.out} is not a folder: choose another --out")
    dataset = open_cut(request.data or scale.data, scale.images)
    for weights in filter(None, request.weights.split(",")):
        open_pretrained(weights, dataset)  # report unusable weights before hours of training
    planned = plan(study, scale, seeds, seconds, dataset, machine, request.out) if seconds else scale
    console.print(describe(study, planned, scale, seeds, dataset, request.budget), soft_wrap=True)
    runs = runs_of(seeded(study.plan(planned), seeds), dataset, planned, machine.dtype())
    train_all(runs, request.out / "runs", machine, console)
    context = open_context(request, planned, seeds, dataset, runs, machine)
    console.print("measuring")
    result = finish_result(study, context, request.note)
    file = write_result(request.out / "results", result)
    for line in conclusions(result):
        console.print(line, soft_wrap=True)
    console.print(f"result: {file}; make a report with `skipway study report`", soft_wrap=True)
    return result


def conclusions(result: Result) -> Iterator[str]:
    """The checks, and each verdict with what was measured, as lines of text."""
    for check in result.checks:
        yield f"check {check.check}: {'passed' if check.passed else 'FAILED'}, {check.measured}"
    for verdict in result.verdicts:
        yield f"{verdict.claim}: {verdict.state}. {verdict.reason}"
        yield f"  {verdict.measured}"
        yield from (f"  {format_effect(effect)}" for effect in verdict.effects)


def seeded(recipes: Sequence[Recipe], seeds: int) -> list[Recipe]:
    """Every recipe with every seed, all recipes of a seed before the next seed."""
    return [replace(recipe, seed=seed) for seed in range(seeds) for recipe in recipes]


def plan(
    study: Study, scale: Scale, seeds: int, seconds: float, dataset: Dataset, machine: Machine, out: Path
) -> Scale:
    """The scale that fits the budget. It is stored, so that the same request continues with the same training runs."""
    request = [study.name, asdict(scale), seeds, seconds, dataset.fingerprint, asdict(machine)]
    file = out / "plans" / f"{hashlib.sha256(json.dumps(request).encode()).hexdigest()[:16]}.json"
    if not file.is_file():
        threads = torch.get_num_threads()
        planned = budget.fit_scale(study, scale, seeds, seconds, dataset, machine.one().decide(), machine.jobs)
        torch.set_num_threads(threads)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(asdict(planned)).encode())
    return Scale(**json.loads(file.read_bytes()))


def describe(study: Study, planned: Scale, scale: Scale, seeds: int, dataset: Dataset, within: str) -> str:
    """The plan of a study as one line of text."""
    count = len(study.plan(planned))
    text = f"{study.title}: {count} training runs for each of {seeds} seed{'s' * (seeds > 1)} on {dataset.name}"
    if not count:
        text = f"{study.title}: no training, {seeds} seed{'s' * (seeds > 1)}, {dataset.name}"
    text += f", scale {scale.name} ({planned.iterations:,} iterations of {planned.batch} images)"
    if within and planned != scale:
        text += f"; reduced from {scale.iterations:,} iterations to fit into {within}"
    elif within and count:
        text += f"; this fits into {within}"
    return text


def open_context(
    request: Request, scale: Scale, seeds: int, dataset: Dataset, runs: Sequence[StudyRun], machine: Machine
) -> ExperimentContext:
    """The context for analysing the finished `runs`."""
    trained = []
    for run in runs:
        folder = request.out / "runs" / run.key
        outcome = outcome_of(folder)
        assert outcome is not None
        trained.append(TrainedNetwork(run, folder, outcome))
    cache_dir = request.out / "measured"
    hardware = machine.decide()
    return ExperimentContext(scale, tuple(range(seeds)), dataset, tuple(trained), hardware, request.weights, cache_dir)


def plain(value: Any) -> Any:
    """`value` after a round trip through JSON."""
    return json.loads(json.dumps(value))


def finish_result(study: Study, context: ExperimentContext, note: str) -> Result:
    """The study's findings and verdicts with the settings they were obtained under. Paths are reduced to names."""
    findings = plain(study.analyse(context))
    runs = tuple(plain(trained.as_dict()) for trained in context.trained)
    dataset = context.dataset
    return Result(
        study=study.name,
        scale=context.scale,
        seeds=context.seeds,
        data={"name": Path(dataset.name).name, "note": note, "fingerprint": context.fingerprint}
        | {f"{key}_images": len(split) for key, split in dataset.splits.items()},
        weights=", ".join(Path(one).name for one in context.weights.split(",")),
        hardware=context.hardware.summary(),
        versions={"python": platform.python_version()} | {p: version(p) for p in ("skipway", "torch", "torchvision")},
        commit=commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        runs=runs,
        findings=findings,
        verdicts=verdicts_of(study.name, runs, findings),
        checks=checks_of(study.name, findings),
    )
