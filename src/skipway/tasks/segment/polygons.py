"""Masks as polygons along the edges of their pixels, exactly."""

import numpy as np

Corner = tuple[int, int]  # column and row, from 0 at the image's left and top


def polygons_of(mask: np.ndarray) -> list[list[int]]:
    """The outlines of a mask bool (H, W), each as x, y, x, y, ... of its corners in pixels.

    Every part of the mask has one, and every hole in it: a point belongs to the mask if it is inside an odd number of
    them. Pixels that only touch at a corner are different parts.
    """
    after = edges_of(mask)
    outlines = []
    while after:
        start = next(iter(after))
        at = next_corner(after, start, (0, 0))
        first = heading = (at[0] - start[0], at[1] - start[1])
        corners = []
        while at != start:
            follow = next_corner(after, at, heading)
            turned = (follow[0] - at[0], follow[1] - at[1])
            if turned != heading:
                corners.append(at)
            at, heading = follow, turned
        if heading != first:
            corners.append(start)
        outlines.append([side for corner in corners for side in corner])
    return outlines


def edges_of(mask: np.ndarray) -> dict[Corner, list[Corner]]:
    """For each corner on an outline, the next ones: the mask lies on the right of every edge."""
    padded = np.pad(mask, 1).astype(np.int8)
    after: dict[Corner, list[Corner]] = {}
    across, down = np.diff(padded, axis=0)[:, 1:-1], np.diff(padded, axis=1)[1:-1]
    for row, column in np.argwhere(across).tolist():
        ends = ((column, row), (column + 1, row))
        start, end = ends if across[row, column] > 0 else ends[::-1]  # the mask begins below: to the right
        after.setdefault(start, []).append(end)
    for row, column in np.argwhere(down).tolist():
        ends = ((column, row + 1), (column, row))
        start, end = ends if down[row, column] > 0 else ends[::-1]  # the mask begins on the right: upwards
        after.setdefault(start, []).append(end)
    return after


def next_corner(after: dict[Corner, list[Corner]], at: Corner, heading: tuple[int, int]) -> Corner:
    """The next corner of the outline, taken from `after`; where two pixels touch at a corner, the turn to the right,
    which stays on the same pixel."""
    choices = after[at]
    right = (at[0] - heading[1], at[1] + heading[0])
    follow = right if len(choices) > 1 and right in choices else choices[0]
    choices.remove(follow)
    if not choices:
        del after[at]
    return follow
