"""Results know which code they measured."""

import ast
from pathlib import Path

import pytest

from benchmarks import provenance
from benchmarks.provenance import CODE, hashes, outdated

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", CODE)
def test_the_code_of_every_result_exists(name: str) -> None:
    assert all((provenance.SOURCE / path).exists() for path in CODE[name])


def test_every_result_that_a_benchmark_writes_has_its_code_named() -> None:
    written = set()
    for file in (ROOT / "benchmarks").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "save":
                written |= {first.value for first in node.args[:1] if isinstance(first, ast.Constant)}
    assert "train_step" in written
    assert written <= set(CODE)


def test_a_change_of_the_code_is_noticed_and_a_comment_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "SOURCE", tmp_path)
    monkeypatch.setitem(CODE, "one", ("a.py", "folder"))
    (tmp_path / "folder").mkdir()
    for file, text in (("a.py", "x = 1\n"), ("folder/b.py", "y = 1\n")):
        (tmp_path / file).write_text(text)
    result = {"commit": "abc1234", "code": hashes("one")}
    provenance.syntax.cache_clear()
    (tmp_path / "a.py").write_text("x = 1  # one\n")
    assert outdated("one", result) == ""
    provenance.syntax.cache_clear()
    (tmp_path / "folder" / "b.py").write_text("y = 2\n")
    assert outdated("one", result) == "changed since: folder"
    provenance.syntax.cache_clear()


def test_uncommitted_changes_and_results_without_hashes_are_named() -> None:
    assert outdated("digits", {"commit": "abc1234-dirty"}) == "measured with uncommitted changes"
    assert "before results recorded" in outdated("digits", {"commit": "abc1234"})


def test_the_sets_of_a_result_are_outdated_one_by_one() -> None:
    now = {"commit": "abc1234", "code": hashes("generation")}
    result = {"commit": "abc1234", "sets": {"digits": now, "mnist": {"commit": "abc1234-dirty"}}}
    assert outdated("generation", result) == "mnist: measured with uncommitted changes"
