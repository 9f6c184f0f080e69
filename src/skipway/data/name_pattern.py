r"""Classes from file names: a regular expression whose first group is the class, such as (.+)_\d+\.jpg.

The expression is searched for in the file's name without its folders (`re.search`), as fastai's
`ImageDataLoaders.from_name_re` does, so that expressions written for it mean the same: one that must begin where the
name begins, or end where it ends, says so by ^ and $.
"""

import re
import shlex
from collections.abc import Iterable, Sequence

from skipway.data.findings import printable
from skipway.errors import SkipwayError, first_line

EXAMPLE = r"'(.+)_\d+\.jpg'"
LETTERS_THEN_DIGITS = re.compile(r"[^\W\d_](?:.*[^\W\d_])?([\W_]*)\d+([\W_]*\.\w+)")


def compiled(pattern: str) -> re.Pattern[str]:
    """Raises SkipwayError for what is no regular expression, and for one without a group."""
    try:
        found = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as fault:
        reason = first_line(fault)
        raise SkipwayError(
            f"--label-pattern '{printable(pattern)}' is no regular expression ({reason}): write one such as {EXAMPLE}"
        ) from None
    if not found.groups:
        raise SkipwayError(
            f"--label-pattern '{printable(pattern)}' has no group: put the part that is the class into parentheses, "
            f"such as {EXAMPLE}"
        )
    return found


def class_in(name: str, pattern: re.Pattern[str]) -> str:
    """The first group's text in a file's name; "" where the pattern is not found, or its first group is not."""
    found = pattern.search(name)
    return (found.group(1) or "") if found else ""


def literal(text: str) -> str:
    """`text` for a regular expression, escaped no more than it needs."""
    return re.sub(r"([.^$*+?{}\[\]\\|()])", r"\\\1", text)


def suggested(names: Sequence[str]) -> tuple[str, int] | None:
    """A pattern made from the first of `names`, if that is letters and then digits such as beagle_12.jpg, and how many
    classes it gives. None where it does not find a class in every name, or hardly the same class twice."""
    found = LETTERS_THEN_DIGITS.fullmatch(names[0]) if names else None
    if not found:
        return None
    between, ending = map(literal, found.groups())
    stem = f"(.+){between}" if between else "(.+?)"  # without anything between them, .+ would take digits too
    for pattern in (rf"{stem}\d+{ending}", rf"{stem}\d+\."):
        classes = {class_in(name, re.compile(pattern)) for name in names}
        if "" not in classes and 2 <= len(classes) <= len(names) / 2:
            return pattern, len(classes)
    return None


def advice(names: Iterable[str]) -> str:
    """How --label-pattern helps with images of these names, as the end of a sentence."""
    found = suggested(sorted(names))
    if not found:
        return "or use --label-pattern if the names hold the class"
    pattern, classes = found
    return f"or use --label-pattern {shlex.quote(pattern)}, which finds {classes:,} classes in the names"
