"""Docstrings of the package as reStructuredText: they are plain English with `code` in single backticks."""

import re
from typing import Any

from sphinx.application import Sphinx

CODE = re.compile(r"`([^`\n]+)`")
SPECIAL = re.compile(r"([*|_\\])")


def plain(text: str) -> str:
    """A line without markup but code; everything else that reStructuredText would read as markup is escaped."""
    parts = CODE.split(text)
    return "".join(f"``{part}``" if i % 2 else SPECIAL.sub(r"\\\1", part) for i, part in enumerate(parts))


def converted(lines: list[str]) -> list[str]:
    """Paragraphs as paragraphs, list items as list items, and indented lines as a block of code."""
    made: list[str] = []
    code, item = False, False
    for line in lines:
        indented = line.startswith("    ")
        if indented and not code and not (made and made[-1].strip()):
            made += ["::", ""]
            code = True
        elif line.strip() and not indented:
            code = False
        if line.startswith("- ") and not item:
            made.append("")
        item = not code and (line.startswith("- ") or (item and line.startswith("  ")))
        made.append(line if code else f"{'  ' if item and line.startswith('  ') else ''}{plain(line.strip())}")
    return [*made, ""]


def process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Sphinx's event `autodoc-process-docstring`."""
    lines[:] = converted(lines)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the event."""
    app.connect("autodoc-process-docstring", process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
