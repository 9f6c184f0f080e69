"""Hashes of the code that determines a training run's result. Comments, docstrings and layout do not change them."""

import ast
import hashlib
import importlib
import pkgutil
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import skipway
from skipway import models
from skipway.models import networks
from skipway.study.networks import registry

SOURCE = Path(skipway.__file__).parent
REPORTING = (  # modules of training that print, save, load, time and replay: they do not affect what is computed
    *("checkpoint_manager", "errors", "loggers", "progress", "recipe_fields", "recipes", "run_log", "run_manifest"),
    *("signals", "state_codec", "time_left", "cuda_graphs"),
)
INPUT = ("data.augment", "data.loader", "data.preprocess", "data.decode", "tasks.classify", "tasks.aux_loss")
PLACEMENT = ("hardware", "models.networks", "study.engine.error_rates", "tasks.inference")
CONCLUSIONS = ("study.engine.verdicts", "study.engine.comparison")  # they interpret findings and measure nothing
PRESENTATION = (
    "decide_claims",
    "run_checks",
    "table",
    "draw",
    "claims",
)  # functions of a study that only present its findings


@cache
def syntax(file: Path) -> str:
    """The syntax tree of `file`, without comments, docstrings and layout."""
    return ast.dump(without_docstrings(file))


def without_docstrings(file: Path) -> ast.Module:
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree


def measurement_syntax(file: Path) -> str:
    """The syntax tree of a study's module, without the functions that only present its findings."""
    tree = without_docstrings(file)
    tree.body = [node for node in tree.body if getattr(node, "name", "") not in PRESENTATION and not is_study(node)]
    return ast.dump(tree)


def is_study(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "STUDY" for t in node.targets)


def defining_module(model: str) -> str:
    """The module whose table defines the network `model`."""
    if model in registry.NETWORKS:
        return registry.__name__
    names = [f"{models.__name__}.{module.name}" for module in pkgutil.iter_modules(models.__path__)]
    papers = [name for name in names if name != networks.__name__]
    return next(n for n in papers if model in getattr(importlib.import_module(n), "NETWORKS", {}))


@cache
def imports_of(module: str) -> set[str]:
    """The names of skipway's modules that a module imports, at module level or inside functions."""
    found = set()
    for node in ast.walk(ast.parse(file_of(module).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skipway"):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if file_of(name).is_file()}


def with_imports(module: str, rooms: tuple[str, ...], seen: frozenset[str] = frozenset()) -> frozenset[str]:
    """`module` and the modules of `rooms` that it imports, directly or indirectly, by name."""
    seen |= {module}
    for imported in sorted(imports_of(module)):
        if imported.startswith(tuple(f"skipway.{room}." for room in rooms)) and imported not in seen:
            seen = with_imports(imported, rooms, seen)
    return seen


def module_of(file: Path) -> str:
    return ".".join(("skipway", *file.relative_to(SOURCE).with_suffix("").parts))


def file_of(module: str) -> Path:
    place = SOURCE.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def existing_modules(names: Iterable[str]) -> set[str]:
    """The full names of the modules `names` below skipway. Raises LookupError for one that does not exist: it was
    renamed, and would silently enter or leave the hash."""
    found = {f"skipway.{name}" for name in names}
    missing = sorted(name for name in found if not file_of(name).is_file())
    if missing:
        raise LookupError(f"code_hash.py names modules that do not exist: {', '.join(missing)}")
    return found


def modules_of(model: str) -> list[str]:
    """The modules that determine a training run of `model`: the network's, the loop's, preprocessing and evaluation."""
    loop = with_imports("skipway.training.loop", ("training",))
    loop -= existing_modules(f"training.{name}" for name in REPORTING)
    own = with_imports(defining_module(model), ("models", "study"))
    return sorted(loop | own | existing_modules((*INPUT, *PLACEMENT)))


@cache
def code_of(model: str) -> str:
    """SHA-256 of the code that determines the result of training `model`, in hexadecimal."""
    return hashlib.sha256("\0".join(syntax(file_of(module)) for module in modules_of(model)).encode()).hexdigest()


@cache
def code_of_measurement(file: str) -> str:
    """SHA-256 of the code that measures something: the module whose `__file__` is `file` and its imports in `study`."""
    modules = with_imports(module_of(Path(file)), ("study",)) - existing_modules(CONCLUSIONS)
    return hashlib.sha256("\0".join(measurement_syntax(file_of(m)) for m in sorted(modules)).encode()).hexdigest()
