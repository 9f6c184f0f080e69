"""What the pages share: how figures are written, and the templates' surroundings."""

from collections.abc import Sequence
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from skipway.evaluation.plots import legible

MISSING = "–"


def percent(share: float | None) -> str:
    """A share of 1 in per cent with two decimals; a dash for None. Only 1 itself reads 100."""
    if share is None:
        return MISSING
    text = f"{100 * share:.2f}"
    return f"{'> 99.99' if share < 1 and text == '100.00' else text}\u00a0%"


def interval(ends: Sequence[float] | None) -> str:
    """Two shares of 1 in per cent; a dash for None."""
    return MISSING if ends is None else f"{percent(ends[0])[:-2]} to {percent(ends[1])[:-2]}"


def value(setting: Any) -> str:
    """A field of a recipe in words; a dash where it is empty."""
    if isinstance(setting, bool):
        return "yes" if setting else "no"
    if isinstance(setting, list | tuple):
        return ", ".join(map(value, setting)) or MISSING
    if isinstance(setting, int):
        return f"{setting:,}"
    return legible(str(setting)) or MISSING


def optional(figure: str | None) -> Markup | None:
    """A figure as markup: the only text on a page that is not escaped, since `plots` made it."""
    return None if figure is None else Markup(figure)


def plain(values: dict[str, Any]) -> dict[str, Any]:
    """`values` as they are after a round trip through JSON: an interval is a list."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def environment(*packages: str) -> Environment:
    """Where templates are looked for in `packages`, in their order; all text is escaped, and nothing may be missing."""
    return Environment(
        loader=ChoiceLoader([PackageLoader(package, "") for package in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **context: Any) -> str:
    """A page as HTML. The same context gives the same bytes."""
    pages = environment("skipway.evaluation")
    pages.filters |= {"percent": percent, "interval": interval, "legible": legible, "value": value}
    return pages.get_template(template).render(context)
