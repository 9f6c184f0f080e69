"""Which values of a recipe's fields a search may try, as text: `lr=log:0.01:1`, `epochs=int:5:30`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from skipway.errors import SkipwayError, UnknownNameError
from skipway.training.recipe_fields import FIELDS, parse
from skipway.training.recipe_keywords import KEYWORDS

if TYPE_CHECKING:
    from optuna.trial import Trial

KINDS = {"float": float, "log": float, "int": int, "int-log": int}
FIXED = ("val", "val_every")  # fields that change what is measured
FORM = "FIELD=KIND:LOW:HIGH with KIND float, log, int or int-log, or FIELD=choice:A:B:..."


@dataclass(frozen=True)
class Range:
    """The values of a field: from `low` to `high`, or `choices`, as text."""

    field: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()

    def suggest(self, trial: "Trial") -> Any:
        """A value, drawn for `trial`, or the one that was."""
        if self.kind == "choice":
            return parse(self.field, trial.suggest_categorical(self.field, self.choices))
        log = self.kind.endswith("log")
        if KINDS[self.kind] is int:
            return trial.suggest_int(self.field, int(self.low), int(self.high), log=log)
        return trial.suggest_float(self.field, self.low, self.high, log=log)

    def text(self) -> str:
        """As it is typed."""
        values = self.choices or (f"{self.low:.12g}", f"{self.high:.12g}")
        return f"{self.field}={':'.join([self.kind, *values])}"


def parse_search(texts: Sequence[str] | Mapping[str, str]) -> tuple[Range, ...]:
    """The ranges of `texts`, each as FIELD=KIND:..., or as a mapping from FIELD to KIND:...

    Raises SkipwayError for one that cannot be read, an unknown field, and one that is given twice.
    """
    pairs = [f"{field}={rest}" for field, rest in texts.items()] if isinstance(texts, Mapping) else list(texts)
    if not pairs:
        raise SkipwayError(f"there is nothing to search: give --search {FORM}")
    found = tuple(parse_range(text) for text in pairs)
    names = [one.field for one in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise SkipwayError(f"--search has {twice} twice: give it once")
    return found


def parse_range(text: str) -> Range:
    """The range `text`. Raises SkipwayError."""
    field, equals, rest = text.partition("=")
    field, (kind, *values) = field.strip().replace("-", "_"), rest.split(":")
    if not equals:
        raise SkipwayError(f"--search '{text}' must be {FORM}")
    if field not in KEYWORDS:
        raise UnknownNameError("field", field, KEYWORDS, "`skipway train --help` lists the fields of a recipe")
    if field in FIXED:
        raise SkipwayError(f"--search {field} would change what trials are compared by: leave it out")
    if kind == "choice":
        if len(set(values)) < 2:
            raise SkipwayError(f"--search '{text}' must have at least two different choices")
        for value in values:
            parse(field, value)
        return Range(field, kind, choices=tuple(values))
    if kind not in KINDS or len(values) != 2:
        raise SkipwayError(f"--search '{text}' must be {FORM}")
    return number_range(text, field, kind, values, KINDS[kind])


def number_range(text: str, field: str, kind: str, values: Sequence[str], number: Callable[[str], float]) -> Range:
    """The range of a field that is a number. Raises SkipwayError for one that is not, and bounds that will not do."""
    if FIELDS[field] is not KINDS[kind]:
        suits = {int: "int, int-log or choice", float: "float, log or choice"}.get(FIELDS[field], "choice")
        raise SkipwayError(f"--search '{text}': {field} is searched by {suits}")
    try:
        low, high = map(number, values)
    except ValueError:
        raise SkipwayError(f"--search '{text}' must have two numbers after {kind}") from None
    if not low < high or (kind.endswith("log") and not low > 0):
        above = " and above 0" if kind.endswith("log") else ""
        raise SkipwayError(f"--search '{text}': the first number must be below the second{above}")
    return Range(field, kind, low, high)
