"""Outlines of masks, filled again by counting crossings, and against their known corners."""

import numpy as np
import pytest
from scipy.ndimage import label
from segmented import filled

from skipway.tasks.segment.polygons import polygons_of


@pytest.mark.parametrize("seed", range(12))
def test_outlines_filled_again_are_the_mask(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((rng.integers(1, 25), rng.integers(1, 25))) < rng.uniform(0.2, 0.9)
    assert np.array_equal(filled(polygons_of(mask), *mask.shape), mask)


@pytest.mark.parametrize("seed", range(6))
def test_there_is_one_outline_for_each_part_and_each_hole(seed: int) -> None:
    mask = np.random.default_rng(seed).random((20, 20)) < 0.6
    parts = label(mask)[1]
    eight = np.ones((3, 3))
    holes = label(~np.pad(mask, 1), eight)[1] - 1
    assert len(polygons_of(mask)) == parts + holes


def test_a_rectangle_has_four_corners_and_a_ring_eight() -> None:
    mask = np.zeros((6, 8), dtype=bool)
    mask[1:5, 2:7] = True
    [outline] = polygons_of(mask)
    assert set(zip(outline[::2], outline[1::2], strict=True)) == {(2, 1), (7, 1), (7, 5), (2, 5)}
    mask[2:4, 3:5] = False
    assert sorted(map(len, polygons_of(mask))) == [8, 8]


def test_an_empty_mask_has_none() -> None:
    assert polygons_of(np.zeros((3, 4), dtype=bool)) == []
