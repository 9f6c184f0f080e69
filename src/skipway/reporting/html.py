"""Rendering of HTML pages: the template environment and its filters."""

from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from skipway.reporting.numbers import MISSING, interval, percent, points
from skipway.reporting.svg import legible


def value(setting: Any) -> str:
    """A field of a recipe as text; a dash where it is empty."""
    if isinstance(setting, bool):
        return "yes" if setting else "no"
    if isinstance(setting, list | tuple):
        return ", ".join(map(value, setting)) or MISSING
    if isinstance(setting, int):
        return f"{setting:,}"
    return legible(str(setting)) or MISSING


def optional(figure: str | None) -> Markup | None:
    """A figure as markup: the only text on a page that is not escaped, since `plots` generates it."""
    return None if figure is None else Markup(figure)


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """`values` as after a round trip through JSON: tuples become lists."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def environment(*packages: str) -> Environment:
    """Templates of `packages`, searched in order; all text is escaped, and undefined names are errors."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package, "") for package in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, package: str, **context: Any) -> str:
    """A page, or a part of one, as HTML; its template is in `package`. The same context gives the same bytes."""
    pages = environment(package, "skipway.reporting")
    pages.filters |= {"percent": percent, "interval": interval, "points": points, "legible": legible, "value": value}
    return pages.get_template(template).render(context)
