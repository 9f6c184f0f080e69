"""The rules of the house (docs/architecture.md), held by reading the source."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import tables

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "skipway"
BASE = {"errors", "hardware", "json_text", "new_files"}
BELOW_TASKS = BASE | {"download", "models", "data", "reporting", "attribution"}
USES = BELOW_TASKS | {"bundle", "tasks", "trained"}
MAY_IMPORT = {
    "errors": set(),
    "hardware": {"errors", "kernels"},
    "kernels": {"errors"},
    "json_text": set(),
    "new_files": {"errors"},
    "download": {"errors"},
    "models": BASE | {"download"},
    "data": BASE | {"download"},
    "bundle": BASE | {"download"},
    "reporting": BASE | {"models"},
    "attribution": BASE | {"models"},
    "tasks": BELOW_TASKS,
    "trained": BELOW_TASKS | {"bundle", "tasks"},
    "training": BASE | {"kernels", "models", "data", "tasks", "bundle", "trained"},
    "evaluation": USES,
    "embedding": USES,
    "deploy": USES | {"embedding"},
    "runtime": BASE - {"hardware"} | {"bundle", "data", "tasks", "deploy", "reporting"},
    "study": USES | {"training", "evaluation", "deploy"},
    "commands": USES | {"training", "evaluation", "deploy", "embedding"},
    "cli": USES | {"training", "evaluation", "deploy", "embedding", "study", "commands"},
    "estimator": USES | {"training", "deploy", "commands"},
    "__init__": USES | {"training", "deploy", "commands", "estimator"},
    "__main__": {"cli"},
}
# Module names of before the rooms were rebuilt, as (room, stem): none may come back.
FORMER = {
    "": "adopt api checking comparing diagram judging run showing",
    "cli": "data judge networks use",
    "models": "catalogue contract counted embedded_weights fitting layers published recompute timm_table translate",
    "data": "bad check columns findings kept labels look preview refusals seen shards source stored stratify table "
    "tree verdicts",
    "tasks": "auxiliary gradcam overlay",
    "training": "account attending balance checkpoint closing faults fields images interrupt keeping mixing norms "
    "prepare schedule state tracking upkeep watching",
    "evaluation": "comparison explain gallery mcnemar measures pages protocols wording",
    "deploy": "agreement answers bench choose contract folders graph paths samples",
    "deploy/engines": "folded",
    "deploy/serve": "answering batching bodies explaining forms guard pictures protocol run",
    "study": "bench brief code contest contract family family_nets foreign frame judging lesion networks order "
    "processes runs signals small_vgg starts surface surgery turns twins views",
}


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def room(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def dotted(file: Path) -> str:
    parts = ("skipway", *file.relative_to(SOURCE).with_suffix("").parts)
    return ".".join(part for part in parts if part != "__init__" or len(parts) == 2)


MODULES = {dotted(file): file for file in modules()}


def imports_of(file: Path) -> set[str]:
    """The modules of ours that a file imports, wherever in it the import stands, but for type checkers alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: imports are absolute, so that the arrows can be read"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in whole}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name == "skipway" or name.startswith("skipway.")}


def rooms_of(file: Path) -> set[str]:
    return {name.split(".")[1] for name in imports_of(file) if "." in name}


@pytest.mark.parametrize("file", modules(), ids=lambda f: f.relative_to(SOURCE).as_posix())
def test_every_import_follows_the_arrows(file: Path) -> None:
    own = room(file)
    assert rooms_of(file) - {own} <= MAY_IMPORT[own]


def test_the_arrow_check_sees_imports_inside_functions(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("async def f():\n    from skipway.training.loop import train\n    from skipway import models\n")
    assert rooms_of(file) == {"training", "models"}


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """A path back to where it began, for each module that has one."""
    found = []
    for start in graph:
        paths, seen = [[start]], {start}
        while paths:
            path = paths.pop()
            for after in graph[path[-1]]:
                if after == start:
                    found.append([*path, start])
                    paths.clear()
                    break
                if after in graph and after not in seen:
                    seen.add(after)
                    paths.append([*path, after])
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert not circles(
        {name: imports_of(file) - {name} for name, file in MODULES.items() if name != "skipway.__init__"}
    )
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}), "the check finds none where there is one"


def names_of_tasks() -> dict[str, str]:
    from skipway.tasks import TASKS

    return {name: kind.__name__ for name, kind in TASKS.items()}


def asks_for_a_task(file: Path) -> list[int]:
    """The lines in which a file compares with a task's name, or names a task's class."""
    tasks, lines = names_of_tasks(), []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Compare):
            lines += [
                node.lineno
                for part in [node.left, *node.comparators]
                if isinstance(part, ast.Constant) and part.value in tasks
            ]
        elif isinstance(node, ast.Name | ast.Attribute | ast.alias):
            name = (
                node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else node.name
            )
            lines += [node.lineno] if name in tasks.values() else []
    return lines


def test_only_the_tasks_room_asks_which_task_it_has(tmp_path: Path) -> None:
    asked = {file: asks_for_a_task(file) for file in modules() if room(file) != "tasks"}
    assert not {file.relative_to(SOURCE).as_posix(): lines for file, lines in asked.items() if lines}
    file = tmp_path / "x.py"
    file.write_text('if card.task == "tag":\n    pass\nfrom skipway.tasks.classify.task import Classify\n')
    assert asks_for_a_task(file) == [1, 3]


def test_no_module_has_a_name_of_before() -> None:
    there = {file.relative_to(SOURCE).with_suffix("").as_posix() for file in modules()}
    former = {f"{place}/{stem}".lstrip("/") for place, stems in FORMER.items() for stem in stems.split()}
    assert not there & former


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    assert not [f for f in modules() if f.stem in {"utils", "util", "helpers", "common", "misc", "legacy"}]


def test_functions_fit_a_screen() -> None:
    functions = [
        (file.name, node.name, (node.end_lineno or 0) - node.lineno)
        for file in modules()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    assert not [f for f in functions if f[2] > 55]


@pytest.mark.parametrize("statement", ["import skipway", "import skipway.cli"])
def test_torch_is_not_imported_before_a_verb_runs(statement: str) -> None:
    code = f"import sys; {statement}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_public_names_are_all_there() -> None:
    import skipway

    assert sorted(skipway.WHERE) == sorted(skipway.__all__)
    for name in skipway.__all__:
        assert getattr(skipway, name) is not None


def test_every_public_name_is_in_the_glossary() -> None:
    import skipway

    glossary = (ROOT / "docs" / "architecture.md").read_text().split("## Glossary")[1]
    assert not [name for name in skipway.__all__ if not re.search(rf"`{name}`", glossary)]


def test_every_module_says_what_it_is() -> None:
    silent = [f for f in modules() if f.read_text().strip() and not ast.get_docstring(ast.parse(f.read_text()))]
    assert not silent


def test_the_tables_of_the_pages_are_those_that_the_results_give() -> None:
    for file, text in tables.pages().items():
        assert file.read_text() == text, f"{file.name}: run `make tables`"
