"""What becomes of images that cannot be read: refuse the data, leave the images out, or move them beside the data.

Nothing is ever put in an image's place, and nothing is deleted.
"""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from skipway.data.findings import Bad, Examination
from skipway.data.source import Source
from skipway.errors import DataError, SkipwayError

Policy = Literal["error", "skip", "quarantine"]
LIST = "list.csv"


def policy_of(text: str) -> Policy:
    """Raises SkipwayError for a word that is no policy."""
    if text not in get_args(Policy):
        raise SkipwayError(f"--bad '{text}' is none of {', '.join(get_args(Policy))}")
    return text  # type: ignore[return-value]


def apply_policy(source: Source, examination: Examination, policy: Policy) -> Source:
    """`source` without the images that cannot be read, each named in `left_out`.

    "quarantine" also moves their files; see `move_away`. Raises DataError for any such image when the policy is
    "error", and when a class or a split loses its last image.
    """
    bad = examination.bad
    if not bad:
        return source
    if policy == "error":
        first = f"{bad[0].name} {bad[0].why.partition(': ')[2]}"
        raise DataError(
            f"{source.name} has images that cannot be read, {len(bad):,} in all, the first: {first}; "
            f"--bad skip trains without them, `skipway check` lists them"
        )
    if policy == "quarantine":
        move_away(source, bad)
    return leave_out(source, bad)


def leave_out(source: Source, bad: Sequence[Bad]) -> Source:
    """`source` without the images `bad`, which `left_out` then names. Raises DataError for what that leaves empty."""
    changed: dict[str, Any] = {}
    for key in {one.split for one in bad}:
        split = source.split(key)
        kept = np.setdiff1d(np.arange(len(split)), [one.place for one in bad if one.split == key])
        if not len(kept):
            raise DataError(f"{source.name} has no image in {key} that can be read: replace them, or remove the split")
        changed[key] = split.take(kept)
    left = replace(source, **changed, left_out=(*source.left_out, *((one.name, one.why) for one in bad)))
    before, after = (s.train.counts(len(s.classes)) for s in (source, left))
    lost = [name for name, had, has in zip(source.classes, before, after, strict=True) if had and not has]
    if lost:
        raise DataError(f"{source.name} has no image of {', '.join(lost[:5])} that can be read: replace or add some")
    return left


def quarantine_of(root: Path) -> Path:
    """The folder beside `root` that its unreadable files are moved to."""
    root = root.absolute()
    return root.with_name(f"{root.name}-quarantine")


def move_away(source: Source, bad: Sequence[Bad]) -> Path:
    """Move the files of the images `bad` into a folder beside the data, below which they lie as they lay, and add
    them to its list.csv (file, why). Returns that folder.

    Raises SkipwayError, before anything is moved, for data that are no folder of files or would replace a file there;
    and for files that the system does not let move.
    """
    root = Path(source.name)
    items = [source.split(one.split).items[one.place] for one in bad] if root.is_dir() else []
    files = [item for item in items if isinstance(item, Path) and item.is_relative_to(root)]
    if len(files) < len(bad):
        raise SkipwayError(f"--bad quarantine moves files of a folder, and {source.name} is none: use --bad skip")
    beside = quarantine_of(root)
    targets = [beside / file.relative_to(root) for file in files]
    taken = next((target for target in targets if os.path.lexists(target)), None)
    if taken is not None:
        raise SkipwayError(f"{taken} is there already, and nothing is replaced: move it away first")
    try:
        for file, target, one in zip(files, targets, bad, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)  # of a link, the link itself
            append(beside / LIST, one)
    except OSError as fault:
        raise SkipwayError(f"{fault.filename} cannot be moved to {beside} ({fault.strerror}): use --bad skip") from None
    return beside


def append(file: Path, one: Bad) -> None:
    """Add a row to the list, file by file, so that it is right even if a later file cannot be moved."""
    text = io.StringIO()
    rows = csv.writer(text)
    if not file.exists():
        rows.writerow(["file", "why"])
    rows.writerow([one.name, one.why])
    with file.open("a", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        stream.write(text.getvalue())
