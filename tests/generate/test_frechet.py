"""Fréchet and kernel distance, against SciPy, torchmetrics, torch-fidelity, closed forms and plain loops."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from skipway.errors import SkipwayError
from skipway.tasks.generate.frechet import frechet_distance, kernel_distance, squared_mmd

RNG = np.random.default_rng(0)


def features(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Correlated rows whose standard deviations are from 1 to 3."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(7).normal(size=(d, d)) / d**0.5
    return (rng.normal(size=(n, d)) * np.linspace(1, 3, d)) @ mixing + shift


def by_scipy(a: np.ndarray, b: np.ndarray) -> float:
    one, other = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    cross = scipy.linalg.sqrtm(one @ other)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(one + other - 2 * np.real(cross)))


@pytest.mark.parametrize("d", [2, 16, 64])
def test_the_distance_is_scipys(d: int) -> None:
    a, b = features(300, d, 1), 1.2 * features(400, d, 2, 0.3)
    assert frechet_distance(a, b) == pytest.approx(by_scipy(a, b), rel=1e-8)


def test_of_gaussians_with_known_moments_it_is_the_closed_form() -> None:
    """Rows that are exact in mean and covariance: diagonal covariances, for which the roots are the deviations'."""
    basis = np.linalg.qr(np.column_stack([np.ones(50), RNG.normal(size=(50, 4))]))[0][:, 1:] * 49**0.5
    one, other, shift = np.array([1.0, 2, 3, 4]), np.array([2.0, 2, 1, 5]), np.array([1.0, 0, -2, 0])
    expected = (shift**2).sum() + ((one - other) ** 2).sum()
    assert frechet_distance(basis * one, basis * other + shift) == pytest.approx(expected, rel=1e-12)


def test_the_distance_is_torchmetrics() -> None:
    """With a network that passes its input on: eight numbers as an image of eight channels of one pixel."""

    class Identity(nn.Module):
        num_features = 8

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)

    a, b = features(200, 8, 1), features(150, 8, 2, 0.5)
    metric = FrechetInceptionDistance(feature=Identity(), input_img_size=(8, 1, 1)).set_dtype(torch.float64)
    for x, real in ((a, True), (b, False)):
        metric.update(torch.from_numpy(x)[:, :, None, None], real=real)
    assert frechet_distance(a, b) == pytest.approx(float(metric.compute()), rel=1e-8)


def test_with_fewer_images_than_features_it_is_a_number_near_scipys() -> None:
    a, b = features(10, 64, 1), features(12, 64, 2)
    found = frechet_distance(a, b)
    assert np.isfinite(found) and found == pytest.approx(by_scipy(a, b), rel=1e-6)


def test_a_set_is_at_distance_zero_from_itself_and_never_below() -> None:
    for n in (2, 20, 200):
        same = features(n, 32, 1)
        assert 0 <= frechet_distance(same, same) < 1e-5


def test_the_distance_is_symmetric_and_takes_float32() -> None:
    a, b = features(100, 16, 1).astype(np.float32), features(90, 16, 2).astype(np.float32)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), rel=1e-9)
    assert frechet_distance(a, b) == frechet_distance(a.astype(np.float64), b.astype(np.float64))


def test_the_bias_of_equal_distributions_is_one_over_n() -> None:
    """N times the distance between two sets of standard normal rows hardly depends on N (d = 64: about 2,200)."""
    for n in (100, 400, 1600):
        rng = np.random.default_rng(n)
        scaled = n * np.mean([frechet_distance(*rng.normal(size=(2, n, 64))) for _ in range(4)])
        assert 2050 < scaled < 2350


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        (np.zeros((1, 3)), np.zeros((5, 3)), "1 images are too few"),
        (np.zeros((5, 3)), np.zeros((5, 4)), r"\(5, 3\) and \(5, 4\)"),
        (np.zeros(5), np.zeros(5), "must be"),
        (np.full((5, 3), np.nan), np.zeros((5, 3)), "not finite"),
    ],
)
def test_features_that_have_no_distance_are_refused(a: np.ndarray, b: np.ndarray, said: str) -> None:
    with pytest.raises(SkipwayError, match=said):
        frechet_distance(a, b)


# ---------------------------------------------------------------------------------------------------------------------
# Kernel distance


def test_the_kernel_estimate_is_that_of_a_plain_loop_and_torchmetrics() -> None:
    a, b = RNG.normal(size=(7, 5)), RNG.normal(size=(9, 5)) + 1

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 5 + 1) ** 3)

    within_a = np.mean([kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j])
    within_b = np.mean([kernel(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j])
    between = np.mean([kernel(x, y) for x in a for y in b])
    assert squared_mmd(a, b) == pytest.approx(within_a + within_b - 2 * between, rel=1e-12)
    a, b = torch.from_numpy(features(30, 6, 1)), torch.from_numpy(features(30, 6, 2, 0.2))
    assert squared_mmd(a.numpy(), b.numpy()) == pytest.approx(float(poly_mmd(a, b)), rel=1e-9)


def test_the_kernel_estimate_has_no_bias() -> None:
    """Over many draws from one distribution its mean is 0 within four errors, unlike the Fréchet distance's."""
    rng = np.random.default_rng(0)
    found = [squared_mmd(*rng.normal(size=(2, 40, 8))) for _ in range(400)]
    assert abs(np.mean(found)) < 4 * np.std(found) / 400**0.5
    assert min(found) < 0 < max(found)
    assert np.mean([frechet_distance(*rng.normal(size=(2, 40, 8))) for _ in range(20)]) > 0.5


def test_the_kernel_distance_is_torch_fidelitys() -> None:
    """The subsets differ, so the means agree within their standard errors."""
    metric_kid = pytest.importorskip("torch_fidelity.metric_kid", reason="torch-fidelity is not installed")
    a, b = features(500, 16, 1), features(500, 16, 2, 0.5)
    ours = kernel_distance(a, b)
    theirs = metric_kid.kid_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b), kid_subset_size=ours.size, verbose=False
    )
    error = (2 * ours.deviation**2 / 100) ** 0.5
    assert ours.size == 250
    assert abs(ours.distance - theirs["kernel_inception_distance_mean"]) < 4 * error
    assert ours.deviation == pytest.approx(theirs["kernel_inception_distance_std"], rel=0.4)


def test_the_kernel_distance_follows_from_the_seed() -> None:
    a, b = features(60, 4, 1), features(40, 4, 2)
    assert kernel_distance(a, b) == kernel_distance(a, b) != kernel_distance(a, b, seed=1)
    with pytest.raises(SkipwayError, match="3 images are too few"):
        kernel_distance(a[:3], b)
