"""The code that decides what a training gives, as a mark: it changes with what the code does, not with its comments."""

import ast
import hashlib
import importlib
import pkgutil
from functools import cache
from pathlib import Path

import skipway
from skipway import models
from skipway.study import networks

SOURCE = Path(skipway.__file__).parent
TELLING = (  # of training: what is said, kept, read and watched, not computed
    *("account", "checkpoint", "faults", "fields", "interrupt", "keeping", "recipes", "tracking", "upkeep", "watching"),
)
FEEDING = ("data.augment", "data.loader", "data.preprocess", "data.decode", "tasks.classify", "tasks.auxiliary")
PLACING = ("hardware", "models", "study.judging", "tasks.inference")  # what builds, places and judges
CONCLUDING = ("verdicts", "contest")  # of studies: what is said of findings, not found
SAYING = ("judge", "table", "draw", "claims")  # functions of a study that say what was found


@cache
def meaning(file: Path) -> str:
    """The syntax of `file` without comments, docstrings and layout."""
    return ast.dump(undocumented(file))


def undocumented(file: Path) -> ast.Module:
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return tree


def measuring(file: Path) -> str:
    """Likewise of a study, without what only says what was found."""
    tree = undocumented(file)
    tree.body = [node for node in tree.body if getattr(node, "name", "") not in SAYING and not is_study(node)]
    return ast.dump(tree)


def is_study(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "STUDY" for t in node.targets)


def home_of(model: str) -> str:
    """The module whose table has the network called `model`."""
    if model in networks.NETWORKS:
        return networks.__name__
    names = [f"{models.__name__}.{module.name}" for module in pkgutil.iter_modules(models.__path__)]
    return next(n for n in names if model in getattr(importlib.import_module(n), "NETWORKS", {}))


@cache
def imports_of(module: str) -> set[str]:
    """The modules of ours that a module imports, by name, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(file_of(module).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("skipway"):
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in found if file_of(name).is_file()}


def with_imports(module: str, rooms: tuple[str, ...], seen: frozenset[str] = frozenset()) -> frozenset[str]:
    """`module` and all of `rooms` that it imports, by name, and what these import."""
    seen |= {module}
    for imported in sorted(imports_of(module)):
        if imported.startswith(tuple(f"skipway.{room}." for room in rooms)) and imported not in seen:
            seen = with_imports(imported, rooms, seen)
    return seen


def file_of(module: str) -> Path:
    place = SOURCE.joinpath(*module.split(".")[1:])
    return place / "__init__.py" if place.is_dir() else place.with_suffix(".py")


def modules_of(model: str) -> list[str]:
    """Everything that decides a training of `model`: its own modules, the loop's, and what feeds and judges it."""
    loop = with_imports("skipway.training.loop", ("training",))
    loop -= {f"skipway.training.{name}" for name in TELLING}
    own = with_imports(home_of(model), ("models", "study"))
    return sorted(loop | own | {f"skipway.{name}" for name in (*FEEDING, *PLACING)})


@cache
def code_of(model: str) -> str:
    """Hexadecimal digits that change with whatever code decides what a training of `model` gives."""
    return hashlib.sha256("\0".join(meaning(file_of(module)) for module in modules_of(model)).encode()).hexdigest()


@cache
def code_of_study(name: str) -> str:
    """Likewise for what study/NAME.py measures, with all of studies that it imports."""
    modules = with_imports(f"skipway.study.{name}", ("study",)) - {f"skipway.study.{one}" for one in CONCLUDING}
    return hashlib.sha256("\0".join(measuring(file_of(m)) for m in sorted(modules)).encode()).hexdigest()
