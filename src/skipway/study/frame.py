"""A study, from a request to its result: planned, trained, measured, judged, written."""

import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from skipway.bundle import write_atomically
from skipway.data.source import Source, fingerprint
from skipway.errors import SkipwayError, UnknownNameError
from skipway.study import STUDIES, budget
from skipway.study.bench import Bench, Trained
from skipway.study.contract import SCALES, Scale, Study
from skipway.study.foreign import open_foreign
from skipway.study.processes import perform_all
from skipway.study.results import Result, verdicts_of, write_result
from skipway.study.runs import Machine, Run, open_cut, outcome_of, runs_of
from skipway.training.account import commit
from skipway.training.estimate import parse_budget
from skipway.training.recipes import Recipe


@dataclass(frozen=True)
class Request:
    """What somebody asks for. seeds 0: the scale's; data, budget, weights: empty for none given; note: what sets the
    data apart, for the result; out: the folder of everything that studies leave."""

    study: str
    scale: str = "small"
    seeds: int = 0
    data: str = ""
    budget: str = ""
    weights: str = ""
    note: str = ""
    out: Path = Path("studies")


def find_study(name: str) -> Study:
    """The study called `name`. Raises UnknownNameError with the nearest name."""
    if name not in STUDIES:
        raise UnknownNameError("study", name, STUDIES, "`skipway study list` names all of them")
    return STUDIES[name]


def find_scale(name: str) -> Scale:
    if name not in SCALES:
        raise UnknownNameError("--scale", name, SCALES, f"one of {', '.join(SCALES)}")
    return SCALES[name]


def conduct(request: Request, machine: Machine, console: Console) -> Result:
    """Run a study and write its result below `request.out`. Raises SkipwayError for a request that cannot be met."""
    study, scale = find_study(request.study), find_scale(request.scale)
    if request.weights and not study.foreign:
        raise SkipwayError(f"{study.name} examines no weights of others: leave out --weights")
    if request.seeds < 0:
        raise SkipwayError(f"--seeds must be above 0, not {request.seeds}")
    seconds = parse_budget(request.budget) if request.budget else 0.0
    seeds = request.seeds or scale.seeds
    if request.out.exists() and not request.out.is_dir():
        raise SkipwayError(f"{request.out} is no folder: choose another --out")
    source = open_cut(request.data or scale.data, scale.images)
    for weights in filter(None, request.weights.split(",")):
        open_foreign(weights, source)  # what cannot be examined is said before hours of training
    planned = plan(study, scale, seeds, seconds, source, machine, request.out) if seconds else scale
    console.print(describe(study, planned, scale, seeds, source, request.budget), soft_wrap=True)
    runs = runs_of(seeded(study.plan(planned), seeds), source, planned, machine.dtype())
    perform_all(runs, request.out / "runs", machine, console)
    bench = open_bench(request, planned, seeds, source, runs, machine)
    console.print("measuring")
    result = concluded(study, bench, request.note)
    file = write_result(request.out / "results", result)
    for verdict in result.verdicts:
        console.print(f"{verdict.claim}: {verdict.state}. {verdict.reason}", soft_wrap=True)
        console.print(f"  {verdict.measured}", soft_wrap=True)
    console.print(f"{file}; `skipway study report` draws it", soft_wrap=True)
    return result


def seeded(recipes: Sequence[Recipe], seeds: int) -> list[Recipe]:
    """Every recipe with every seed, a whole seed after the other."""
    return [replace(recipe, seed=seed) for seed in range(seeds) for recipe in recipes]


def plan(study: Study, scale: Scale, seeds: int, seconds: float, source: Source, machine: Machine, out: Path) -> Scale:
    """The scale that fits the budget, which is remembered: the same request goes on with the same trainings."""
    asked = [study.name, asdict(scale), seeds, seconds, fingerprint(source), asdict(machine)]
    file = out / "plans" / f"{hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]}.json"
    if not file.is_file():
        own = torch.get_num_threads()
        found = budget.fitted(study, scale, seeds, seconds, source, machine.one().decide(), machine.jobs)
        torch.set_num_threads(own)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps(asdict(found)).encode())
    return Scale(**json.loads(file.read_bytes()))


def describe(study: Study, planned: Scale, scale: Scale, seeds: int, source: Source, within: str) -> str:
    """What will be done, in a line."""
    count = len(study.plan(planned))
    text = f"{study.title}: {count} trainings for each of {seeds} seed{'s' * (seeds > 1)} on {source.name}"
    if not count:
        text = f"{study.title}: no training, {seeds} seed{'s' * (seeds > 1)}, {source.name}"
    text += f", scale {scale.name} ({planned.iterations:,} iterations of {planned.batch} images)"
    if within and planned != scale:
        text += f"; {within} hold {planned.iterations:,} of the {scale.iterations:,} iterations"
    elif within and count:
        text += f"; that fits into {within}"
    return text


def open_bench(
    request: Request, scale: Scale, seeds: int, source: Source, runs: Sequence[Run], machine: Machine
) -> Bench:
    """The finished `runs` for an analysis."""
    found = []
    for run in runs:
        folder = request.out / "runs" / run.key
        outcome = outcome_of(folder)
        assert outcome is not None
        found.append(Trained(run, folder, outcome))
    memory = request.out / "measured"
    decided = machine.decide()
    return Bench(scale, tuple(range(seeds)), source, tuple(found), decided, request.weights, memory)


def plain(value: Any) -> Any:
    """`value` as it is after a round trip through JSON."""
    return json.loads(json.dumps(value))


def concluded(study: Study, bench: Bench, note: str) -> Result:
    """The study's findings and verdicts with everything that they were found under. Paths are cut to their names."""
    findings = plain(study.analyse(bench))
    source = bench.source
    return Result(
        study=study.name,
        scale=bench.scale,
        seeds=bench.seeds,
        data={"name": Path(source.name).name, "note": note, "fingerprint": bench.mark}
        | {f"{key}_images": len(split) for key, split in source.splits.items()},
        weights=", ".join(Path(one).name for one in bench.weights.split(",")),
        hardware=bench.hardware.summary(),
        versions={"python": platform.python_version()} | {p: version(p) for p in ("skipway", "torch", "torchvision")},
        commit=commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        runs=tuple(plain(trained.record()) for trained in bench.trained),
        findings=findings,
        verdicts=verdicts_of(study.name, bench.scale, findings),
    )
