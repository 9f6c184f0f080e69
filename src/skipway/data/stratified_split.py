"""Stratified choice of validation images, for single-label and multi-label data."""

import numpy as np


def stratified_indices(labels: np.ndarray, classes: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """Indices of `fraction` of each class's images, in order; labels: (n,).

    A class of two or more images has at least one on each side; scikit-learn's stratified split refuses classes of one
    image, which real folders have.
    """
    chosen: list[np.ndarray] = []
    for label in range(classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        chosen.append(members[: min(len(members) - 1, max(1, round(fraction * len(members)))) if len(members) else 0])
    return np.sort(np.concatenate(chosen))


def multilabel_stratified_indices(
    labels: np.ndarray, classes: int, fraction: float, rng: np.random.Generator
) -> np.ndarray:
    """Indices of about `fraction` of the images of each class and of those without a class; labels: (n, classes).

    Iterative stratification (Sechidis 2011, "On the stratification of multi-label data", algorithm 1): the images of
    the rarest remaining class are assigned first, each to the side that still needs most of that class, ties broken by
    the need for images, then at random. A class whose images would all be chosen gets one back.
    """
    shares = np.array([1 - fraction, fraction])
    needed = len(labels) * shares
    needed_of = labels.sum(0, dtype=np.int64)[:, None] * shares
    side = np.full(len(labels), -1)
    has = labels.astype(bool)

    def assign(index: int, need: np.ndarray) -> None:
        candidates = np.flatnonzero(need == need.max())
        candidates = candidates[needed[candidates] == needed[candidates].max()]
        chosen = int(rng.choice(candidates)) if len(candidates) > 1 else int(candidates[0])
        side[index] = chosen
        needed[chosen] -= 1
        needed_of[has[index], chosen] -= 1

    while (remaining := (has & (side < 0)[:, None]).sum(0)).any():
        rarest = int(np.where(remaining > 0, remaining, len(labels) + 1).argmin())
        for index in rng.permutation(np.flatnonzero(has[:, rarest] & (side < 0))):
            assign(index, needed_of[rarest])
    for index in rng.permutation(np.flatnonzero(side < 0)):
        assign(index, needed)
    for label in range(classes):
        members = np.flatnonzero(has[:, label])
        if len(members) and (side[members] == 1).all():
            side[members[0]] = 0
    return np.flatnonzero(side == 1)
