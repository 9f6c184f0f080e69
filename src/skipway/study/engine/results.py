"""Results of studies as JSON files, with everything needed to make their figures and tables.

Verdicts and checks are not stored: they are computed from the findings whenever a result is read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from skipway.bundle import write_atomically
from skipway.errors import SkipwayError
from skipway.study import STUDIES
from skipway.study.engine.experiment import CheckResult, Findings, Verdict
from skipway.study.engine.scale import Scale

SCHEMA = 2


@dataclass(frozen=True)
class Result:
    """data: name, fingerprint and number of images of each split; weights: published weights that were analysed too;
    runs: key, recipe and outcome of every training run; findings: the study's measurements, as JSON values; verdicts
    and checks: computed from the findings."""

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
    checks: tuple[CheckResult, ...]

    @property
    def label(self) -> str:
        """STUDY-SCALE, or STUDY-SCALE-cut if a budget reduced the scale."""
        return f"{self.study}-{self.scale.name}{'-cut' * self.scale.cut}"

    @property
    def minutes(self) -> float:
        """Minutes of training, summed over the runs."""
        return sum(run["seconds"] for run in self.runs) / 60


def verdicts_of(study: str, runs: Sequence[Mapping[str, Any]], findings: Findings) -> tuple[Verdict, ...]:
    """The verdicts on the claims of the study named `study`, in the order of the claims."""
    definition = STUDIES[study]
    claims = definition.claims_by_name()
    verdicts = tuple(definition.decide_claims(claims, longest(runs), findings))
    assert [verdict.claim for verdict in verdicts] == list(claims)
    return verdicts


def longest(runs: Sequence[Mapping[str, Any]]) -> int:
    """The steps of the longest of `runs`; 0 without any."""
    return max((run["recipe"]["iterations"] for run in runs), default=0)


def checks_of(study: str, findings: Findings) -> tuple[CheckResult, ...]:
    """The results of the checks of the study named `study`, in their order."""
    definition = STUDIES[study]
    results = tuple(definition.run_checks(findings))
    assert [result.check for result in results] == [check.name for check in definition.checks]
    return results


def write_result(folder: Path, result: Result) -> Path:
    """Write LABEL.json to `folder`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{result.label}.json"
    values = {"schema": SCHEMA, **asdict(result)}
    del values["verdicts"], values["checks"]
    write_atomically(file, (json.dumps(values, indent=1) + "\n").encode())
    return file


def read_result(file: Path) -> Result:
    """Read a file written by `write_result`. Raises SkipwayError if it is not one."""
    try:
        values = json.loads(file.read_bytes())
        schema = values.pop("schema")
        if schema != SCHEMA:
            raise SkipwayError(f"{file} has schema {schema}, but this version reads {SCHEMA}: run the study again")
        values["scale"] = Scale(**values["scale"])
        values["seeds"], values["runs"] = tuple(values["seeds"]), tuple(values["runs"])
        verdicts = verdicts_of(values["study"], values["runs"], values["findings"])
        return Result(**values, verdicts=verdicts, checks=checks_of(values["study"], values["findings"]))
    except (ValueError, LookupError, TypeError, AttributeError) as fault:
        raise SkipwayError(f"{file} is not a study result ({fault!r}): run the study again") from None


def read_results(folder: Path) -> list[Result]:
    """All results in `folder`, ordered by file name. Raises SkipwayError if there are none."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise SkipwayError(f"{folder} contains no results: run a study first, for example `skipway study degradation`")
    return [read_result(file) for file in files]
