"""Studies at scale tiny, each run once per session in one folder, so that training runs are shared as in use."""

from pathlib import Path

import pytest
from rich.console import Console
from studied import Tiny

from skipway.study.engine.results import Result
from skipway.study.engine.runner import Request, run_experiment
from skipway.study.engine.runs import Machine


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder shared by the session's studies."""
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="session")
def tiny(studies: Path) -> Tiny:
    """tiny("degradation"): the study's result at scale tiny, on digits."""
    known: dict[str, Result] = {}

    def run(name: str) -> Result:
        if name not in known:
            known[name] = run_experiment(Request(name, "tiny", out=studies), Machine(), Console(quiet=True))
        return known[name]

    return run
