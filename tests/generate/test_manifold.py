"""Precision, recall, density and coverage, against their definitions in plain NumPy and closed forms."""

import numpy as np
import pytest
import torch

from skipway.errors import SkipwayError
from skipway.tasks.generate import manifold
from skipway.tasks.generate.manifold import ManifoldMeasures, manifold_measures


def brute_force(real: np.ndarray, samples: np.ndarray, k: int) -> ManifoldMeasures:
    """The definitions, by every pair's difference."""

    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.sqrt(((a[:, None] - b[None]) ** 2).sum(2))

    def radii(a: np.ndarray) -> np.ndarray:
        return np.sort(distances(a, a), 1)[:, k]  # the first is the image itself

    between = distances(real, samples)
    in_real, in_samples = between <= radii(real)[:, None], between <= radii(samples)[None]
    return ManifoldMeasures(
        float(in_real.any(0).mean()),
        float(in_samples.any(1).mean()),
        float(in_real.sum(0).mean() / k),
        float(in_real.any(1).mean()),
    )


@pytest.mark.parametrize("k", [1, 3, 5])
def test_all_four_are_those_of_every_pair(k: int) -> None:
    rng = np.random.default_rng(k)
    real, samples = rng.normal(size=(90, 6)), 0.8 * rng.normal(size=(70, 6)) + 0.7
    found = manifold_measures(real, samples, k)
    assert found == pytest.approx(brute_force(real, samples, k), abs=1e-12)
    assert 0 < found.precision < 1 and 0 < found.recall < 1 and 0 < found.coverage < 1


def test_on_a_lattice_where_most_distances_are_equal_rounding_decides_nothing() -> None:
    """Whole numbers, whose distances are exact by differences: many images lie on a boundary, or are equal."""
    rng = np.random.default_rng(0)
    real, samples = rng.integers(0, 4, (83, 3)).astype(float), rng.integers(0, 4, (61, 3)).astype(float)
    for k in (1, 5):
        assert manifold_measures(real / 7, samples / 7, k) == pytest.approx(brute_force(real, samples, k), abs=1e-12)


def test_they_do_not_depend_on_how_many_distances_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    real, samples = rng.normal(size=(57, 4)), rng.normal(size=(43, 4))
    whole = manifold_measures(real, samples)
    monkeypatch.setattr(manifold, "NUMBERS", 150)  # two or three rows
    assert manifold_measures(real, samples) == whole


def test_no_more_than_a_part_of_the_distances_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(manifold, "NUMBERS", 1000)
    squared = manifold.squared_distances

    def watched(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        seen.append(len(a) * len(b))
        return squared(a, b)

    monkeypatch.setattr(manifold, "squared_distances", watched)
    rng = np.random.default_rng(0)
    manifold_measures(rng.normal(size=(300, 3)), rng.normal(size=(200, 3)))
    assert len(seen) == 200 and max(seen) == 1000


def test_identical_sets_have_all_of_it_and_each_ball_holds_its_owner_and_k_neighbours() -> None:
    """Ties in every ball: the k-th neighbour lies on the boundary, which belongs to it, so the density is (k + 1) / k.
    So it does far from the origin and in float32, where rounding would otherwise decide."""
    rng = np.random.default_rng(0)
    for scale, shift in ((1, 0), (1e-3, 1), (1, 1000)):
        same = (scale * rng.normal(size=(200, 16)) + shift).astype(np.float32)
        assert manifold_measures(same, same[::-1], 5) == pytest.approx((1, 1, 6 / 5, 1), abs=1e-12)


def test_equal_distributions_have_a_density_of_one() -> None:
    rng = np.random.default_rng(0)
    found = [manifold_measures(*rng.normal(size=(2, 300, 8))).density for _ in range(8)]
    assert abs(np.mean(found) - 1) < 0.05


def test_equal_distributions_have_the_expected_coverage() -> None:
    """1 - (n - 1)...(n - k) / ((2n - 1)...(2n - k)) (Naeem 2020, appendix): 0.970 for n = 300 and k = 5."""
    n, k = 300, 5
    expected = 1 - np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    rng = np.random.default_rng(0)
    found = [manifold_measures(*rng.normal(size=(2, n, 8)), k).coverage for _ in range(8)]
    assert np.mean(found) == pytest.approx(expected, abs=0.01)


def test_distant_samples_have_none_of_it() -> None:
    rng = np.random.default_rng(0)
    assert manifold_measures(rng.normal(size=(50, 4)), rng.normal(size=(60, 4)) + 100) == (0, 0, 0, 0)


def test_a_dropped_mode_costs_recall_and_coverage_and_an_added_one_precision() -> None:
    rng = np.random.default_rng(0)
    near, far = rng.normal(size=(100, 4)), rng.normal(size=(100, 4)) + 100
    dropped = manifold_measures(np.concatenate([near, far]), near[:50] + 0.01)
    assert dropped.precision == 1 and dropped.recall <= 0.5 and dropped.coverage <= 0.5
    added = manifold_measures(near, np.concatenate([near + 0.01, far]))
    assert added.precision == 0.5 and added.recall == 1


def test_an_outlier_among_real_images_raises_precision_more_than_density() -> None:
    """The reason for density (Naeem 2020, sec. 3): one huge ball makes every sample precise."""
    rng = np.random.default_rng(0)
    real, samples = rng.normal(size=(200, 2)), rng.normal(size=(200, 2)) + 30
    real[0] = 40
    found = manifold_measures(real, samples)
    assert found.precision == 1 and found.density == pytest.approx(1 / 5)


def test_too_few_images_are_refused() -> None:
    few, enough = np.zeros((5, 3)), np.zeros((6, 3))
    with pytest.raises(SkipwayError, match="5 images are too few for this measure: it needs 6"):
        manifold_measures(enough, few)
    with pytest.raises(SkipwayError, match="k = 0"):
        manifold_measures(enough, enough, 0)
