"""Prediction of large images by overlapping tiles of the network's input, at the image's own resolution.

Tiles go from left to right and from top to bottom, so that a task needs to hold one row of them. What a task does with
a tile's outputs is its `Stitcher`'s.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import islice

import torch
from torch import Tensor

from skipway.data.preprocess import Preprocessing
from skipway.deploy.engines.base import Engine
from skipway.tasks.base import Outputs, Stitcher

OVERLAP = 0.25  # share of a tile's side that it has in common with the next


def starts(length: int, tile: int) -> list[int]:
    """The first pixels of the fewest tiles that cover `length` pixels, evenly spread, OVERLAP in common at least."""
    if length <= tile:
        return [0]
    count = -(-(length - tile) // round(tile * (1 - OVERLAP))) + 1
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tiles_of(image: Tensor, preprocessing: Preprocessing) -> Iterator[tuple[Tensor, int, int]]:
    """Each tile of `image`, uint8 (C, H, W), as an input of the network with its top and left pixel; beyond the image
    it is of the mean colour."""
    rows, columns = preprocessing.canvas
    for top in starts(image.shape[1], rows):
        for left in starts(image.shape[2], columns):
            part, tile = image[:, top : top + rows, left : left + columns], preprocessing.blank()
            tile[:, : part.shape[1], : part.shape[2]] = part
            yield tile, top, left


def stitch(image: Tensor, preprocessing: Preprocessing, engine: Engine, stitcher: Stitcher) -> None:
    """Give `stitcher` the outputs for each tile of `image`, in order; only a few tiles are held at a time."""
    if stitcher.add_whole is not None:
        inside = engine.submit(preprocessing.fitted(image)[None]).result()
        stitcher.add_whole(tuple(output[0] for output in inside))
    waiting: deque[tuple[list[tuple[int, int]], Future[Outputs]]] = deque()

    def take() -> None:
        places, outputs = waiting.popleft()
        for (top, left), *found in zip(places, *outputs.result(), strict=True):
            stitcher.add(tuple(found), top, left)

    tiles = tiles_of(image, preprocessing)
    while group := list(islice(tiles, engine.batch)):
        places = [(top, left) for _, top, left in group]
        waiting.append((places, engine.submit(torch.stack([tile for tile, _, _ in group]))))
        if len(waiting) > engine.depth:
            take()
    while waiting:
        take()
