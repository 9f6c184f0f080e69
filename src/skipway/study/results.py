"""A study's result on disk: JSON with all that it was found under, from which every figure and table is made again."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from skipway.bundle import write_atomically
from skipway.errors import SkipwayError
from skipway.study.contract import Findings, Scale, State, Verdict

SCHEMA = 1


@dataclass(frozen=True)
class Result:
    """data: name, fingerprint and images in each split; weights: others' that were examined too; runs: of every
    training its key, recipe and outcome; findings: the study's own."""

    study: str
    scale: Scale
    seeds: tuple[int, ...]
    data: dict[str, Any]
    weights: str
    hardware: dict[str, str]
    versions: dict[str, str]
    commit: str
    date: str
    runs: tuple[dict[str, Any], ...]
    findings: Findings
    verdicts: tuple[Verdict, ...]

    @property
    def minutes(self) -> float:
        """Minutes of training, each run for itself."""
        return sum(run["seconds"] for run in self.runs) / 60


def write_result(folder: Path, result: Result) -> Path:
    """STUDY-SCALE.json in `folder`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{result.study}-{result.scale.name}.json"
    write_atomically(file, (json.dumps({"schema": SCHEMA, **asdict(result)}, indent=1) + "\n").encode())
    return file


def read_result(file: Path) -> Result:
    """What `write_result` wrote. Raises SkipwayError for anything else."""
    try:
        values = json.loads(file.read_bytes())
        schema = values.pop("schema")
        if schema != SCHEMA:
            raise SkipwayError(f"{file} has schema {schema}, this version reads {SCHEMA}: run the study again")
        values["scale"] = Scale(**values["scale"])
        values["verdicts"] = tuple(Verdict(**verdict) for verdict in values["verdicts"])
        values["seeds"], values["runs"] = tuple(values["seeds"]), tuple(values["runs"])
        result = Result(**values)
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise SkipwayError(f"{file} is no result of a study ({fault}): run the study again") from None
    if any(verdict.state not in get_args(State) for verdict in result.verdicts):
        raise SkipwayError(f"{file} holds a verdict that is none of {', '.join(get_args(State))}: run the study again")
    return result


def read_results(folder: Path) -> list[Result]:
    """Every result in `folder`, in the order of their names. Raises SkipwayError where there is none."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise SkipwayError(f"{folder} holds no result: run a study first, for instance `skipway study degradation`")
    return [read_result(file) for file in files]
