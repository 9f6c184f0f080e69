"""Likelihoods, against SciPy's densities, Jacobians and exact probabilities of whole numbers."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from skipway.errors import SkipwayError
from skipway.tasks.generate import likelihood
from skipway.tasks.generate.likelihood import (
    EXACT_DIMENSIONS,
    PROBES,
    BitsPerDimension,
    bits_of,
    bits_per_dimension,
    dequantised,
    likelihood_cost,
    log_likelihood,
    rademacher,
    with_divergence,
)
from skipway.tasks.generate.sampler import Sampler, SamplingOptions
from skipway.tasks.generate.solvers import uniform
from tests.generate.closed_forms import Gaussian, correlated

CPU = torch.device("cpu")


def images(count: int, flow: Gaussian, shape: tuple[int, int, int]) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return flow.image_of(torch.randn(count, *shape, generator=generator, dtype=torch.float64))


def signs(count: int, probes: int, shape: tuple[int, int, int]) -> Tensor:
    return rademacher(0, range(count), (probes, *shape)).double()


def of_scipy(flow: Gaussian, x: Tensor) -> Tensor:
    return torch.from_numpy(stats.multivariate_normal(flow.mean, flow.cov).logpdf(x.flatten(1).numpy()))


def test_the_likelihood_of_a_gaussian_is_scipys_to_second_order() -> None:
    flow = correlated(6)
    x = images(20, flow, (1, 2, 3))
    found = {n: log_likelihood(flow, x, uniform(n)[::-1], "heun") for n in (50, 100, 200)}
    errors = [float((found[n].nats - of_scipy(flow, x)).abs().mean()) for n in found]
    coarse, fine = (a / b for a, b in pairwise(errors))
    assert abs(fine - 4) < 0.75 * abs(coarse - 4)  # a ratio is 4 + O(h)
    # Richardson: the remaining error is a third of the last change
    change = float((found[200].nats - found[100].nats).abs().mean())
    assert errors[-1] == pytest.approx(change / 3, rel=0.2)
    assert errors[-1] < 0.02
    assert not found[200].standard_error.any()


def test_the_exact_divergence_is_the_trace_of_the_jacobian() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.Tanh(), nn.Conv2d(5, 2, 3, padding=1)).double()
    x, t = torch.randn(3, 2, 3, 4, dtype=torch.float64), torch.full((3,), 0.4, dtype=torch.float64)
    v, divergence = with_divergence(lambda x, t: net(x), x, t, None)
    torch.testing.assert_close(v, net(x).detach())
    for image, found in zip(x, divergence, strict=True):
        jacobian = torch.autograd.functional.jacobian(
            lambda flat: net(flat.reshape(1, 2, 3, 4)).flatten(), image.flatten()
        )
        assert float(found) == pytest.approx(float(jacobian.trace()), abs=1e-12)


def test_probes_estimate_the_likelihood_within_the_error_that_they_state() -> None:
    flow, n, probes = correlated(12), 400, 8
    x = images(n, flow, (1, 3, 4))
    exact = log_likelihood(flow, x, uniform(20)[::-1], "midpoint")
    found = log_likelihood(flow, x, uniform(20)[::-1], "midpoint", signs(n, probes, (1, 3, 4)))
    off = found.nats - exact.nats
    # unbiased: the mean of n errors is within 4 of its standard errors of 0
    assert abs(float(off.mean())) < 4 * float(off.std()) / math.sqrt(n)
    # the stated variance is right on average: a mean of n squares, whose relative deviation is below sqrt(6 / n)
    ratio = float(off.square().mean() / found.standard_error.square().mean())
    assert ratio == pytest.approx(1, abs=4 * math.sqrt(6 / n))
    # a t interval of 7 degrees of freedom holds the truth in 95 %, binomial deviation 1.1 %
    covered = off.abs() <= stats.t.ppf(0.975, probes - 1) * found.standard_error
    assert float(covered.double().mean()) == pytest.approx(0.95, abs=4 * 0.011)


def test_more_probes_state_a_smaller_error_and_one_is_refused() -> None:
    flow = correlated(12)
    x = images(50, flow, (1, 3, 4))
    few, many = (
        log_likelihood(flow, x, uniform(5)[::-1], "euler", signs(50, k, (1, 3, 4))).standard_error.square().mean()
        for k in (8, 32)
    )
    assert float(few / many) == pytest.approx(4, rel=0.5)
    with pytest.raises(SkipwayError, match="one probe has no standard error: give at least two"):
        log_likelihood(flow, x, uniform(2)[::-1], "euler", signs(50, 1, (1, 3, 4)))


def test_without_gradients_it_is_refused_in_one_line() -> None:
    def engine(x: Tensor, t: Tensor) -> Tensor:
        return -x.detach()

    with pytest.raises(SkipwayError, match=r"likelihoods need gradients.*use the network itself"):
        log_likelihood(engine, torch.zeros(1, 1, 2, 2), uniform(2)[::-1], "heun")


def test_it_works_where_gradients_are_off() -> None:
    flow = correlated(4)
    x = images(3, flow, (1, 2, 2))
    outside = log_likelihood(flow, x, uniform(10)[::-1], "heun").nats
    with torch.inference_mode():
        inside = log_likelihood(flow, x.clone(), uniform(10)[::-1], "heun").nats
    with torch.no_grad():
        torch.testing.assert_close(log_likelihood(flow, x, uniform(10)[::-1], "heun").nats, outside)
    torch.testing.assert_close(inside, outside)


@pytest.mark.parametrize(("levels", "constant"), [(256, 7.0), (17, math.log2(8.5)), (2, 0.0)])
def test_whole_numbers_fill_the_scale_and_cost_what_the_length_of_their_interval_says(
    levels: int, constant: float
) -> None:
    values = torch.arange(levels)
    low, high = (dequantised(values, torch.full((levels,), u, dtype=torch.float64), levels) for u in (0.0, 1.0))
    assert low[0] == -1 and high[-1] == 1
    torch.testing.assert_close(high[:-1], low[1:])
    # the uniform density on [-1, 1], 1 / 2 in each dimension, is log2(levels) bits for each number
    assert float(bits_of(torch.tensor([5 * math.log(0.5)]).double(), 5, levels)) == pytest.approx(math.log2(levels))
    assert float(bits_of(torch.zeros(1), 5, levels)) == pytest.approx(constant)


def gaussian_sampler(flow: Gaussian, shape: tuple[int, int, int], batch: int = 4) -> Sampler:
    return Sampler(lambda x, t, labels: flow(x, t), 0, shape, CPU, batch)


def test_the_bits_of_whole_numbers_are_those_of_their_probabilities() -> None:
    """256 levels of normal numbers, whose probabilities are differences of SciPy's distribution function."""
    deviation, mean, pixels = 0.3, 0.1, 9
    flow = Gaussian(torch.full((pixels,), mean).double(), torch.eye(pixels).double() * deviation**2)
    drawn = np.random.default_rng(0).normal(mean, deviation, (8, 1, 3, 3))
    values = np.clip(np.floor((drawn + 1) / 2 * 256), 0, 255)
    edges = (2 * np.stack([values, values + 1]) / 256 - 1 - mean) / deviation
    exact = -np.log2(stats.norm.cdf(edges[1]) - stats.norm.cdf(edges[0])).mean((1, 2, 3))
    options = SamplingOptions(steps=60)
    found = bits_per_dimension(gaussian_sampler(flow, (1, 3, 3)), torch.from_numpy(values), [None] * 8, 256, 0, options)
    # each pixel's density is taken at a random place of its interval, 1 / 128 long: the log density there is off by at
    # most |z| / deviation / 256 with |z| < 3.5, of random sign, in the mean of 9 pixels; the solver adds O(h^2)
    place = 3.5 / deviation / 256 / math.log(2) / math.sqrt(pixels)
    half = bits_per_dimension(
        gaussian_sampler(flow, (1, 3, 3)), torch.from_numpy(values), [None] * 8, 256, 0, SamplingOptions(steps=30)
    )
    solver = float((half.bits - found.bits).abs().max())
    assert solver < 0.01
    assert found.bits.numpy() == pytest.approx(exact, abs=place + solver)
    assert not found.standard_error.any()


def test_bits_are_the_same_in_any_company_above_the_exact_dimensions() -> None:
    dimensions, shape = EXACT_DIMENSIONS + 8, (1, 8, 9)
    flow, options = correlated(dimensions), SamplingOptions(steps=4)
    values = torch.randint(0, 256, (6, *shape), generator=torch.Generator().manual_seed(0))

    def measured(values: Tensor, seed: int = 0) -> BitsPerDimension:
        sampler = gaussian_sampler(flow, shape)
        return bits_per_dimension(sampler, values, [None] * len(values), 256, seed, options)

    all_six, three = measured(values), measured(values[:3])
    assert torch.equal(all_six.bits[:3], three.bits)
    assert (all_six.standard_error > 0).all()
    assert torch.equal(all_six.standard_error[:3], three.standard_error)
    assert not torch.equal(measured(values, 1).bits, all_six.bits)
    low, high = all_six.interval
    assert low < all_six.mean < high
    half = stats.t.ppf(0.975, 5) * float(stats.sem(all_six.bits.numpy()))
    assert high - all_six.mean == pytest.approx(half, rel=1e-5)
    low, high = measured(values[:1]).interval
    half = stats.t.ppf(0.975, PROBES - 1) * float(all_six.standard_error[0])
    assert (high - low) / 2 == pytest.approx(half, rel=1e-5)


def test_values_that_are_no_levels_are_refused() -> None:
    sampler = gaussian_sampler(correlated(4), (1, 2, 2))
    with pytest.raises(SkipwayError, match="values outside 0 to 16"):
        bits_per_dimension(sampler, torch.full((1, 1, 2, 2), 17), [None], levels=17)
    with pytest.raises(SkipwayError, match=r"images of 1 x 3 x 2: this generator takes 1 x 2 x 2"):
        bits_per_dimension(sampler, torch.zeros(1, 1, 3, 2), [None])


def test_the_values_may_be_bytes() -> None:
    """As images are decoded: 256, the number of levels, is none of their type."""
    sampler, options = gaussian_sampler(correlated(4), (1, 2, 2)), SamplingOptions(steps=3)
    values = torch.tensor([[0, 17], [128, 255]])[None, None]
    as_bytes = bits_per_dimension(sampler, values.byte(), [None], options=options)
    assert torch.equal(as_bytes.bits, bits_per_dimension(sampler, values, [None], options=options).bits)


@pytest.mark.parametrize(("shape", "gradients"), [((1, 2, 3), 6), ((1, 6, 11), PROBES)])
def test_the_cost_that_is_said_is_that_of_the_measurement(
    shape: tuple[int, int, int], gradients: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 6 images in batches of 4, every call of the network and of its gradient counted."""
    flow, calls = correlated(math.prod(shape)), {"network": 0, "gradients": 0}

    def net(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        calls["network"] += 1
        return flow(x, t)

    gradient_along = likelihood.gradient_along

    def counted(v: Tensor, x: Tensor, direction: Tensor) -> Tensor:
        calls["gradients"] += 1
        return gradient_along(v, x, direction)

    monkeypatch.setattr(likelihood, "gradient_along", counted)
    sampler, options = Sampler(net, 0, shape, CPU, 4), SamplingOptions(steps=3, solver="midpoint")
    cost = likelihood_cost(sampler, [None] * 6, options)
    calls.update(network=0, gradients=0)
    bits_per_dimension(sampler, torch.zeros(6, *shape), [None] * 6, options=options)
    assert (cost.images, cost.evaluations, cost.gradients) == (6, 6, 3 * gradients)
    assert calls == {"network": 2 * cost.evaluations, "gradients": 2 * cost.gradients}
    assert cost.seconds > 0 and cost.images_in(10 * cost.seconds) == 60
