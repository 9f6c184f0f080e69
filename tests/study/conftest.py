"""Studies at scale tiny, each run once a session in one folder, so that trainings are shared as they are in use."""

from pathlib import Path

import pytest
from rich.console import Console
from studied import Tiny

from skipway.study.frame import Request, conduct
from skipway.study.results import Result
from skipway.study.runs import Machine


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the session's studies share."""
    return tmp_path_factory.mktemp("studies")


@pytest.fixture(scope="session")
def tiny(studies: Path) -> Tiny:
    """tiny("degradation"): the study's result at scale tiny, on digits."""
    known: dict[str, Result] = {}

    def run(name: str) -> Result:
        if name not in known:
            known[name] = conduct(Request(name, "tiny", out=studies), Machine(), Console(quiet=True))
        return known[name]

    return run
