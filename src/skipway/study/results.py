"""A study's result on disk: JSON with all that it was found under, from which every figure and table is made again.

Verdicts are not written down. They follow from the findings, and are drawn anew whenever a result is read.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skipway.bundle import write_atomically
from skipway.errors import SkipwayError
from skipway.study import STUDIES
from skipway.study.contract import Findings, Scale, Verdict

SCHEMA = 2


@dataclass(frozen=True)
class Result:
    """data: name, fingerprint and images in each split; weights: others' that were examined too; runs: of every
    training its key, recipe and outcome; findings: the study's own, plain values; verdicts: what follows from them."""

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
    def label(self) -> str:
        """STUDY-SCALE, or STUDY-SCALE-cut where a budget cut the scale."""
        return f"{self.study}-{self.scale.name}{'-cut' * self.scale.cut}"

    @property
    def minutes(self) -> float:
        """Minutes of training, each run for itself."""
        return sum(run["seconds"] for run in self.runs) / 60


def verdicts_of(study: str, scale: Scale, findings: Findings) -> tuple[Verdict, ...]:
    """A verdict for each claim of the study called so, in their order."""
    asked = STUDIES[study]
    verdicts = tuple(asked.judge(asked.named(), scale, findings))
    assert [verdict.claim for verdict in verdicts] == list(asked.named())
    return verdicts


def write_result(folder: Path, result: Result) -> Path:
    """The result's label with .json in `folder`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{result.label}.json"
    values = {"schema": SCHEMA, **asdict(result)}
    del values["verdicts"]
    write_atomically(file, (json.dumps(values, indent=1) + "\n").encode())
    return file


def read_result(file: Path) -> Result:
    """What `write_result` wrote. Raises SkipwayError for anything else."""
    try:
        values = json.loads(file.read_bytes())
        schema = values.pop("schema")
        if schema != SCHEMA:
            raise SkipwayError(f"{file} has schema {schema}, this version reads {SCHEMA}: run the study again")
        values["scale"] = Scale(**values["scale"])
        values["seeds"], values["runs"] = tuple(values["seeds"]), tuple(values["runs"])
        verdicts = verdicts_of(values["study"], values["scale"], values["findings"])
        return Result(**values, verdicts=verdicts)
    except (ValueError, LookupError, TypeError, AttributeError) as fault:
        raise SkipwayError(f"{file} is no result of a study ({fault!r}): run the study again") from None


def read_results(folder: Path) -> list[Result]:
    """Every result in `folder`, in the order of their names. Raises SkipwayError where there is none."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise SkipwayError(f"{folder} holds no result: run a study first, for instance `skipway study degradation`")
    return [read_result(file) for file in files]
