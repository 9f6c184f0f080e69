"""Handling of unreadable images: raise an error, skip them, or move them to a quarantine folder.

Images are never replaced by others, and nothing is deleted.
"""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from skipway.data.box_targets import BoxTargets
from skipway.data.dataset import Dataset
from skipway.data.mask_targets import MaskTargets
from skipway.data.quality.issues import WRONG_ANNOTATION, Bad, CheckResult
from skipway.errors import DataError, SkipwayError

Policy = Literal["error", "skip", "quarantine"]
LIST = "list.csv"


def policy_of(text: str) -> Policy:
    """`text` as a policy. Raises SkipwayError if it is not one."""
    if text not in get_args(Policy):
        raise SkipwayError(f"--bad '{text}' is not one of {', '.join(get_args(Policy))}")
    return text  # type: ignore[return-value]


def apply_policy(dataset: Dataset, result: CheckResult, policy: Policy) -> Dataset:
    """`dataset` without unusable images, unreadable ones and those with wrong annotations; `left_out` lists them.

    "quarantine" also moves their files; see `move_away`. Raises DataError for any such image if the policy is "error",
    and if a class or a split would lose its last image.
    """
    bad = result.bad
    if not bad:
        return dataset
    if policy == "error":
        category, _, reason = bad[0].why.partition(": ")
        annotated = category in WRONG_ANNOTATION
        first = f"{bad[0].name}: {reason}" if annotated else f"{bad[0].name} {reason}"
        raise DataError(
            f"{dataset.name} has {'images with wrong annotations' if annotated else 'unreadable images'}, {len(bad):,} "
            f"in all, the first: {first}; --bad skip trains without them, `skipway check` lists them"
        )
    if policy == "quarantine":
        move_away(dataset, bad)
    return remove_images(dataset, bad)


def remove_images(dataset: Dataset, bad: Sequence[Bad]) -> Dataset:
    """`dataset` without the images `bad`, now in its `left_out`. Raises DataError if a class or split becomes empty."""
    changed: dict[str, Any] = {}
    for key in {one.split for one in bad}:
        split = dataset.split(key)
        kept = np.setdiff1d(np.arange(len(split)), [one.place for one in bad if one.split == key])
        if not len(kept):
            raise DataError(f"{dataset.name} has no readable images in {key}: replace them, or remove the split")
        changed[key] = split.take(kept)
    left_out = (*dataset.left_out, *((one.name, one.why) for one in bad))
    left = replace(dataset, **changed, left_out=left_out, bad_annotations=())
    before, after = (s.train.counts(len(s.classes)) for s in (dataset, left))
    lost = [name for name, had, has in zip(dataset.classes, before, after, strict=True) if had and not has]
    if lost:
        raise DataError(f"{dataset.name} has no readable images of {', '.join(lost[:5])}: replace them or add some")
    return left


def quarantine_of(root: Path) -> Path:
    """The folder next to `root` that its unreadable files are moved to."""
    root = root.absolute()
    return root.with_name(f"{root.name}-quarantine")


def move_away(dataset: Dataset, bad: Sequence[Bad]) -> Path:
    """Move the files of the images `bad` to a folder next to the data, with the same relative paths, and add them to
    its list.csv (file, why). Returns that folder.

    Raises SkipwayError, before anything is moved, if the data are not a folder of files or a file there would be
    replaced; and for files that cannot be moved. Images with boxes or masks are not moved: their annotations would
    still name them.
    """
    if isinstance(dataset.train.targets, BoxTargets | MaskTargets):
        raise SkipwayError(
            f"--bad quarantine moves images, which the annotations of {dataset.name} would still name: use --bad skip"
        )
    root = Path(dataset.name)
    items = [dataset.split(one.split).items[one.place] for one in bad] if root.is_dir() else []
    files = [item for item in items if isinstance(item, Path) and item.is_relative_to(root)]
    if len(files) < len(bad):
        raise SkipwayError(f"--bad quarantine moves files of a folder, and {dataset.name} is not one: use --bad skip")
    quarantine = quarantine_of(root)
    targets = [quarantine / file.relative_to(root) for file in files]
    existing = next((target for target in targets if os.path.lexists(target)), None)
    if existing is not None:
        raise SkipwayError(f"{existing} already exists and is not replaced: move it away first")
    try:
        for file, target, one in zip(files, targets, bad, strict=True):
            target.parent.mkdir(parents=True, exist_ok=True)
            file.rename(target)  # of a link, the link itself
            append(quarantine / LIST, one)
    except OSError as error:
        raise SkipwayError(
            f"{error.filename} cannot be moved to {quarantine} ({error.strerror}): use --bad skip"
        ) from None
    return quarantine


def append(file: Path, one: Bad) -> None:
    """Add a row to the list, file by file, so that it is correct even if a later file cannot be moved."""
    text = io.StringIO()
    rows = csv.writer(text)
    if not file.exists():
        rows.writerow(["file", "why"])
    rows.writerow([one.name, one.why])
    with file.open("a", encoding="utf-8", errors="backslashreplace", newline="") as stream:
        stream.write(text.getvalue())
