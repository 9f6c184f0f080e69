"""The runtime imports nothing heavy, and its distribution has every module that it imports."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import skipway
from skipway.runtime import cli, predictor, serving

SOURCE = Path(skipway.__file__).parent
HEAVY = ("torch", "torchvision", "scipy", "sklearn", "matplotlib", "pyarrow", "jinja2", "pandas", "typer")
BLOCKED = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}))\n"
SPECIFICATION = tomllib.loads((SOURCE.parents[1] / "runtime" / "pyproject.toml").read_text())


def top_level_imports(file: Path) -> set[str]:
    """Modules of ours that importing `file` imports, those for type checkers alone left out."""
    found = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skipway"):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def file_of(module: str) -> Path | None:
    place = SOURCE.joinpath(*module.split(".")[1:])
    files = (place / "__init__.py", place.with_suffix(".py"))
    return next((file for file in files if file.is_file()), None)


def reached() -> dict[str, Path]:
    """Every module of ours that the runtime's modules import, and their packages."""
    waiting = [cli.__name__, predictor.__name__, serving.__name__, "skipway.deploy.serve.app"]
    waiting += [f"skipway.tasks.{task}.exported" for task in ("classify", "detect", "segment")]
    found: dict[str, Path] = {}
    while waiting:
        module = waiting.pop()
        file = file_of(module)
        if file is not None and module not in found:
            found[module] = file
            waiting += [*top_level_imports(file), module.rpartition(".")[0] or "skipway"]
    return found


def test_no_module_of_the_runtime_imports_anything_heavy() -> None:
    for module, file in reached().items():
        for node in ast.parse(file.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & set(HEAVY), f"{module} imports {names}"


def test_the_distribution_has_every_module_that_the_runtime_imports() -> None:
    packages = set(SPECIFICATION["tool"]["setuptools"]["packages"])
    homes = {m if file.name == "__init__.py" else m.rpartition(".")[0] for m, file in reached().items()}
    assert not homes - packages, "runtime/pyproject.toml lacks packages"


def test_both_distributions_have_the_same_version_and_need_no_other_versions() -> None:
    whole = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text())["project"]
    light = SPECIFICATION["project"]
    assert light["version"] == whole["version"]
    extras = whole["optional-dependencies"]
    known = {*whole["dependencies"], *extras["deploy"], *extras["serve"], *extras["heif"]}
    wanted = [*light["dependencies"], *(one for group in light["optional-dependencies"].values() for one in group)]
    assert not [one for one in wanted if one not in known and not one.startswith("numpy")]


def test_an_image_is_labelled_and_a_server_made_without_torch(onnx: Path, photographs: list[Path]) -> None:
    code = f"""{BLOCKED}
from skipway.runtime import cli
assert cli.run(["predict", {str(onnx)!r}, {str(photographs[0])!r}]) == 0
from pathlib import Path
from skipway.deploy.serve.limits import Limits
from skipway.deploy.serve.server import configuration
from skipway.runtime.serving import ExportSettings
configuration(ExportSettings(Path({str(onnx)!r}), "cpu", "", 1, 1, Limits(), ""))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "probability" in done.stdout
