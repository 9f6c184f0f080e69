"""Which images to hold back for validation, so that every class keeps its share on both sides."""

import numpy as np


def held_by_class(labels: np.ndarray, classes: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """The places of `fraction` of each class's images, in order; labels: (n,).

    A class of two or more lends at least one and keeps at least one; scikit-learn's stratified split refuses classes
    of one, which real folders have.
    """
    held: list[np.ndarray] = []
    for label in range(classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        held.append(members[: min(len(members) - 1, max(1, round(fraction * len(members)))) if len(members) else 0])
    return np.sort(np.concatenate(held))


def held_by_labels(labels: np.ndarray, classes: int, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """The places of about `fraction` of the images, of each class's and of those without a class; labels: (n, classes).

    Iterative stratification (Sechidis 2011, "On the stratification of multi-label data", algorithm 1): the images of
    the rarest class that is left are dealt out first, each to the side that still lacks most of that class, then of
    all images, then by lot. A class whose images would all be held gets one back.
    """
    shares = np.array([1 - fraction, fraction])
    wanted = len(labels) * shares
    wanted_of = labels.sum(0, dtype=np.int64)[:, None] * shares
    side = np.full(len(labels), -1)
    has = labels.astype(bool)

    def deal(place: int, lack: np.ndarray) -> None:
        most = np.flatnonzero(lack == lack.max())
        most = most[wanted[most] == wanted[most].max()]
        chosen = int(rng.choice(most)) if len(most) > 1 else int(most[0])
        side[place] = chosen
        wanted[chosen] -= 1
        wanted_of[has[place], chosen] -= 1

    while (left := (has & (side < 0)[:, None]).sum(0)).any():
        rarest = int(np.where(left > 0, left, len(labels) + 1).argmin())
        for place in rng.permutation(np.flatnonzero(has[:, rarest] & (side < 0))):
            deal(place, wanted_of[rarest])
    for place in rng.permutation(np.flatnonzero(side < 0)):
        deal(place, wanted)
    for label in range(classes):
        members = np.flatnonzero(has[:, label])
        if len(members) and (side[members] == 1).all():
            side[members[0]] = 0
    return np.flatnonzero(side == 1)
