"""How verbs print: in colour for people, as JSON for machines. Nothing heavy is imported before something prints."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def console(stderr: bool = False) -> "Console":
    from rich.console import Console

    return Console(stderr=stderr, highlight=False)


def print_json(value: Any) -> None:
    import json

    print(json.dumps(value, ensure_ascii=False))
