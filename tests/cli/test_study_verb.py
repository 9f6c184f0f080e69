"""`skipway study`."""

import json
from pathlib import Path

import pytest
from typed import Skipway, refused

from skipway.study import STUDIES


def test_list_names_every_study_with_its_question(skipway: Skipway) -> None:
    code, out, _ = skipway("study", "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(STUDIES)
    code, out, _ = skipway("study", "list", "--json")
    assert [study["name"] for study in json.loads(out)] == list(STUDIES)
    assert all(study["claims"] for study in json.loads(out))


def test_without_a_name_there_is_help(skipway: Skipway) -> None:
    _, out, err = skipway("study")
    assert "degradation" in out + err or "NAME" in out + err
    assert "Usage" in out + err


def test_faults_are_one_line(skipway: Skipway, here: Path) -> None:
    (here / "one" / "only").mkdir(parents=True)
    refused(skipway("study", "degredation"), "did you mean 'degradation'")
    refused(skipway("study", "degradation", "--scale", "big"), "unknown --scale 'big'")
    refused(skipway("study", "degradation", "--budget", "soon"), "is not a duration")
    refused(skipway("study", "degradation", "--data", "nowhere"), "unknown data set 'nowhere'")
    refused(skipway("study", "degradation", "--data", "one"), "one")
    refused(skipway("study", "report"), "contains no results")


def test_stopping_a_study_says_how_to_go_on(skipway: Skipway, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("skipway.study.engine.runner.run_experiment", stopped)
    code, _, err = skipway("study", "degradation", "--scale", "tiny")
    assert code == 130
    assert "repeat the same command to continue" in err


def test_every_page_that_was_written_is_named(skipway: Skipway, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "skipway.study.engine"
    monkeypatch.setattr(f"{module}.results.read_results", lambda folder: [])
    monkeypatch.setattr(f"{module}.report.write_report", lambda out, found: out / "report.html")
    monkeypatch.setattr(f"{module}.report.fill_pages", lambda docs, found: [docs / "a.md", docs / "b.md"])
    code, out, _ = skipway("study", "report", "--docs", "docs")
    assert (code, out.splitlines()) == (0, ["studies/report.html", "docs/a.md", "docs/b.md"])
    assert skipway("study", "report")[1].splitlines() == ["studies/report.html"]
