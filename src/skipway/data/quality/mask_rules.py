"""Rules for the masks of a data set: how many pixels each class has, and which are rare.

Wrong masks are among the wrong annotations, as those of boxes are (`box_rules`).
"""

from collections.abc import Iterator

import numpy as np

from skipway.data.dataset import Dataset
from skipway.data.mask_targets import MaskTargets
from skipway.data.quality.issues import Issue, MaskTable, group_issue, issue

RARE = 0.005  # share of the labelled training pixels below which a class is rare


def masks_of(dataset: Dataset) -> dict[str, MaskTargets]:
    """The targets of the splits with masks; empty for data without masks."""
    return {key: split.targets for key, split in dataset.splits.items() if isinstance(split.targets, MaskTargets)}


def mask_table(dataset: Dataset) -> MaskTable | None:
    """The pixels of each class and split; None for data without masks."""
    found = masks_of(dataset)
    if not found:
        return None
    sums = {key: targets.pixels.sum(0).tolist() for key, targets in found.items()}
    pixels = {key: dict(zip(dataset.classes, total[:-1], strict=True)) for key, total in sums.items()}
    return MaskTable(pixels, {key: total[-1] for key, total in sums.items()}, dataset.remarks)


def mask_issues(dataset: Dataset) -> Iterator[Issue]:
    """An issue for the classes with few training pixels, the rarest first."""
    table = mask_table(dataset)
    if table is None:
        return
    shares = np.array([table.share("train", name) for name in dataset.classes])
    rare = [i for i in np.argsort(shares, kind="stable").tolist() if 0 < shares[i] < RARE]
    if rare:
        listed = group_issue("rare class", [f"{dataset.classes[i]} ({shares[i]:.2%} of the pixels)" for i in rare])
        yield issue("rare class", dataset.classes[rare[0]], listed.detail, len(rare))
