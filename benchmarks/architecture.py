"""The tree of source files in docs/architecture.md, each with the first sentence of its docstring. `make tables`"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "skipway"
PAGE = ROOT / "docs" / "architecture.md"


def sentence(file: Path) -> str:
    """The first sentence of a module's docstring, on one line."""
    text = ast.get_docstring(ast.parse(file.read_text())) or ""
    first = re.split(r"(?<=[.:])\s", " ".join(text.split("\n\n")[0].split()), maxsplit=1)[0]
    return first.rstrip(".:")


def files() -> list[Path]:
    """Every source file that says something, files before folders."""
    found = [file for file in SOURCE.rglob("*.py") if file.read_text().strip()]
    return sorted(found, key=lambda file: [(i < len(file.parts) - 1, part) for i, part in enumerate(file.parts)])


def tree() -> str:
    """The files below src/skipway, a line each."""
    lines, room = [], Path()
    for file in files():
        place = file.relative_to(SOURCE)
        if place.parent != room:
            room = place.parent
            lines += ["", f"{room.as_posix()}/"]
        indent = "  " if room != Path() else ""
        lines.append(f"{indent}{place.name:<30}{sentence(file)}")
    return "```\n" + "\n".join(lines).lstrip("\n") + "\n```"
