r"""Classes from file names: a regular expression whose first group is the class, such as (.+)_\d+\.jpg.

The expression is searched for in the file name without its folders (`re.search`), as in fastai's
`ImageDataLoaders.from_name_re`, so that expressions written for it work the same: use ^ and $ to match from the start
or to the end of the name.
"""

import re
import shlex
from collections.abc import Iterable, Sequence

from skipway.errors import SkipwayError, first_line, printable

EXAMPLE = r"'(.+)_\d+\.jpg'"
LETTERS_THEN_DIGITS = re.compile(r"[^\W\d_](?:.*[^\W\d_])?([\W_]*)\d+([\W_]*\.\w+)")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The compiled `pattern`. Raises SkipwayError if it is not a regular expression or has no group."""
    try:
        found = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        reason = first_line(error)
        raise SkipwayError(
            f"--label-pattern '{printable(pattern)}' is not a regular expression ({reason}): try {EXAMPLE}"
        ) from None
    if not found.groups:
        raise SkipwayError(
            f"--label-pattern '{printable(pattern)}' has no group: put the class into parentheses, such as {EXAMPLE}"
        )
    return found


def class_in(name: str, pattern: re.Pattern[str]) -> str:
    """The first group's text in a file name; "" if the pattern or its first group does not match."""
    found = pattern.search(name)
    return (found.group(1) or "") if found else ""


def escape(text: str) -> str:
    """`text` as part of a regular expression, with minimal escaping."""
    return re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", text)


def suggest_pattern(names: Sequence[str]) -> tuple[str, int] | None:
    """A pattern derived from the first of `names`, if that is letters and then digits such as beagle_12.jpg, and the
    number of classes it finds. None if it fails for any name, or finds too many classes."""
    found = LETTERS_THEN_DIGITS.fullmatch(names[0]) if names else None
    if not found:
        return None
    between, ending = map(escape, found.groups())
    stem = f"(.+){between}" if between else "(.+?)"  # without a separator, .+ would match digits too
    for pattern in (rf"{stem}\d+{ending}", rf"{stem}\d+\."):
        classes = {class_in(name, re.compile(pattern)) for name in names}
        if "" not in classes and 2 <= len(classes) <= len(names) / 2:
            return pattern, len(classes)
    return None


def pattern_hint(names: Iterable[str]) -> str:
    """A suggestion of --label-pattern for images of these names, as the end of a sentence."""
    found = suggest_pattern(sorted(names))
    if not found:
        return "or use --label-pattern if the file names contain the class"
    pattern, classes = found
    return f"or use --label-pattern {shlex.quote(pattern)}, which finds {classes:,} classes in the names"
