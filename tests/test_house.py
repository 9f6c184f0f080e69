"""The rules of the house (docs/design.md), held by reading the source."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import tables

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "skipway"
BASE = {"errors", "hardware"}
MAY_IMPORT = {
    "errors": set(),
    "hardware": {"errors"},
    "download": {"errors"},
    "models": BASE | {"download"},
    "data": BASE | {"download"},
    "bundle": BASE,
    "tasks": BASE | {"models", "data"},
    "training": BASE | {"models", "data", "tasks", "bundle"},
    "evaluation": BASE | {"models", "data", "tasks", "bundle"},
    "deploy": BASE | {"download", "models", "data", "tasks", "bundle"},
    "study": BASE | {"models", "data", "tasks", "bundle", "training", "evaluation", "deploy"},
}
DOORS = {
    "adopt",
    "api",
    "checking",
    "comparing",
    "diagram",
    "judging",
    "run",
    "showing",
    "cli",
    "__init__",
    "__main__",
}  # may import all; no room imports them


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def room(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(file: Path) -> set[str]:
    """The rooms of ours that a file imports, wherever in it the import stands."""
    names: list[str] = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: imports are absolute, so that the arrows can be read"
            names += [
                f"{node.module}.{alias.name}" if node.module == "skipway" else node.module for alias in node.names
            ]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {name.split(".")[1] for name in names if name.startswith("skipway.")}


@pytest.mark.parametrize("file", modules(), ids=lambda f: f.relative_to(SOURCE).as_posix())
def test_every_import_follows_the_arrows(file: Path) -> None:
    own = room(file)
    if own in DOORS:
        return
    assert imported_rooms(file) - {own} <= MAY_IMPORT[own]


def test_the_arrow_check_sees_imports_inside_functions(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from skipway.training.loop import train\n    from skipway import models\n")
    assert imported_rooms(file) == {"training", "models"}


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    assert not [f for f in modules() if f.stem in {"utils", "util", "helpers", "common", "misc", "legacy"}]


def test_functions_fit_a_screen() -> None:
    functions = [
        (file.name, node.name, (node.end_lineno or 0) - node.lineno)
        for file in modules()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef)
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


def test_the_readme_tree_names_every_source_file() -> None:
    readme = (ROOT / "README.md").read_text()
    tree = readme.split("<!-- tree -->")[1].split("<!-- /tree -->")[0]
    listed = {line.split()[0] for line in tree.splitlines() if line.strip() and not line.startswith("```")}
    there = {f.relative_to(SOURCE).as_posix() for f in SOURCE.rglob("*") if f.suffix in {".py", ".html"}}
    there = {f for f in there if not f.endswith("/__init__.py") or (SOURCE / f).read_text().strip()}
    assert there <= listed, f"missing from the tree: {sorted(there - listed)}"
    assert {f for f in listed if f.endswith((".py", ".html"))} <= there


def test_the_tables_of_the_pages_are_those_that_the_results_give() -> None:
    for file, text in tables.pages().items():
        assert file.read_text() == text, f"{file.name}: run `make tables`"
