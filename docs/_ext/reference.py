"""The reference from the source: every command, every public name, every recipe and each of its fields, as Markdown."""

import ast
import dataclasses
import inspect
from collections.abc import Iterable
from typing import Any

import typer
from typer.main import get_command

import skipway
from docs._ext.markdown import table
from skipway import cli, models
from skipway.data.quality.issues import CATEGORIES
from skipway.reporting.numbers import MISSING
from skipway.training import recipes
from skipway.training.recipe_fields import MEANING
from skipway.training.recipe_keywords import KEYWORDS, type_text
from skipway.training.recipes import RECIPES, Recipe

DEFAULTS = {field.name: field.default for field in dataclasses.fields(Recipe)}
WIDTH = 96  # characters of a line of help


def commands() -> str:
    """Every command with its help, as the command line prints it."""
    return "\n\n".join(
        f"({anchor(name)})=\n## `{name}`\n\n```text\n{text.rstrip()}\n```" for name, text in command_helps().items()
    )


def anchor(command: str) -> str:
    return command.replace(" ", "-")


def command_helps() -> dict[str, str]:
    """The help of each command by its full name, groups before their members."""
    return dict(helps_of(get_command(cli.app), "skipway", None))


def helps_of(command: Any, name: str, parent: typer.Context | None) -> Iterable[tuple[str, str]]:
    context = typer.Context(
        command, parent, name, max_content_width=WIDTH, terminal_width=WIDTH, **command.context_settings
    )
    yield context.command_path, command.get_help(context)
    for verb, member in getattr(command, "commands", {}).items():
        yield from helps_of(member, verb, context)


def python_names() -> dict[str, list[str]]:
    """The public names of each documented module by kind: functions, then classes."""
    found = {"skipway": [name for name in skipway.__all__ if not name.startswith("_")]}
    found["skipway.models"] = [
        name for name in models.__all__ if inspect.isfunction(getattr(models, name)) and name not in skipway.__all__
    ]
    return found


def python() -> str:
    """Every public name, from its docstring."""
    parts = []
    for module, names in python_names().items():
        home: Any = skipway if module == "skipway" else models
        for kind, chosen in (("Functions", inspect.isfunction), ("Classes", inspect.isclass)):
            if members := sorted(name for name in names if chosen(getattr(home, name))):
                parts.append(f"## {kind} of `{module}`\n\n" + "\n\n".join(documented(module, n, kind) for n in members))
    return "\n\n".join(parts)


def documented(module: str, name: str, kind: str) -> str:
    """A directive in reStructuredText that documents one name."""
    directive = "autofunction" if kind == "Functions" else "autoclass"
    members = "\n   :members:" if kind == "Classes" else ""
    return f"### `{name}`\n\n```{{eval-rst}}\n.. {directive}:: {module}.{name}{members}\n```"


# ---------------------------------------------------------------------------------------------------------------------
# Recipes


def recipe_table() -> str:
    """The recipes side by side."""
    columns = ("recipe", "network", "length", "batch", "optimiser", "peak rate", "schedule", "weights")
    rows = []
    for name, recipe in RECIPES.items():
        length = f"{recipe.iterations:,} steps" if recipe.iterations else f"{recipe.epochs} epochs"
        rate = f"{recipe.lr:g} for {recipe.lr_batch}"
        weights = recipe.pretrained or MISSING
        shown = (f"`{recipe.model}`", length, recipe.batch, recipe.optimiser, rate, recipe.schedule, weights)
        rows.append((f"[`{name}`](#recipe-{name})", *shown))
    return table(columns, rows)


def recipe_texts() -> dict[str, str]:
    """What the source says below each recipe, by name."""
    texts, last = {}, None
    for node in ast.parse(inspect.getsource(recipes)).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and last is not None:
            texts[last.name] = inspect.cleandoc(str(node.value.value))
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        value = getattr(recipes, target.id) if isinstance(target, ast.Name) else None
        last = value if isinstance(value, Recipe) else None
    return texts


def recipe_sections() -> str:
    """A section for each recipe: what the source says of it, and the values that differ from a recipe's defaults."""
    texts, parts = recipe_texts(), []
    for name, recipe in RECIPES.items():
        given = {key: value for key, value in vars(recipe).items() if key != "name" and value != DEFAULTS[key]}
        values = ", ".join(f"`{key} = {value!r}`" for key, value in given.items())
        text = texts[name].replace("<", "\\<")
        parts.append(f"(recipe-{name})=\n### `{name}`\n\n{text}\n\nDiffers from the defaults in: {values}.")
    return "\n\n".join(parts)


def recipe_fields() -> str:
    """The fields of a recipe."""
    columns = ("field", "option", "type", "default", "meaning")
    return table(
        columns,
        (
            (f"`{name}`", f"`--{name.replace('_', '-')}`", type_text(KEYWORDS[name]), f"`{DEFAULTS[name]!r}`", text)
            for name, text in MEANING.items()
        ),
    )


# ---------------------------------------------------------------------------------------------------------------------
# Checks of data


def findings() -> str:
    """What `skipway check` can find, and what a training does about it."""
    return table(
        ("finding", "severity", "what a training does, and how to change it"),
        ((name, category.severity, category.action) for name, category in CATEGORIES.items()),
    )
