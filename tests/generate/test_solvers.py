"""Solvers and time grids, against flows that are known and the orders that their papers promise."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from skipway.errors import UnknownNameError
from skipway.tasks.generate.flow import Velocity
from skipway.tasks.generate.solvers import GRIDS, SOLVERS, evaluation_times, integrate, rho7, uniform
from tests.generate.closed_forms import Points, correlated

ORDERS = {"euler": 1, "heun": 2, "midpoint": 2}


def noise(count: int, dimensions: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 1, 1, dimensions, generator=generator, dtype=torch.float64)


def errors(solver: str, steps: int) -> float:
    """Root mean square error of the images that noise becomes."""
    flow, z = correlated(6), noise(50, 6)
    return float((integrate(flow, z, uniform(steps), solver) - flow.image_of(z)).square().mean().sqrt())


def test_every_solver_and_grid_is_tested() -> None:
    assert set(ORDERS) == set(SOLVERS)
    assert set(GRIDS) == {"uniform", "rho7"}


@pytest.mark.parametrize("solver", ORDERS)
def test_noise_becomes_the_gaussian_that_it_should(solver: str) -> None:
    # the flow is affine, so the images of the noises 0 and e_k give its mean and covariance without sampling error
    flow, steps = correlated(6), 400 if solver == "euler" else 50
    z = torch.cat([torch.zeros(1, 6), torch.eye(6)]).double().reshape(7, 1, 1, 6)
    coarse, fine = (integrate(flow, z, uniform(count), solver).flatten(1) for count in (steps, 2 * steps))
    # Richardson: an error of order p is 2^p / (2^p - 1) times the change on halving the step, to first order in it
    expected = float((fine - coarse).abs().max()) * 2 ** ORDERS[solver] / (2 ** ORDERS[solver] - 1)
    error = float((coarse - flow.image_of(z).flatten(1)).abs().max())
    assert 0.5 * expected < error < 1.5 * expected < 0.01
    mean, images = coarse[0], coarse[1:] - coarse[0]
    torch.testing.assert_close(mean, flow.mean, atol=1.5 * expected, rtol=0)
    # A A^T for A off by e in each of 6 x 6 places, whose rows are at most 1 long: 2 sqrt(6) e, and twice for the mean
    torch.testing.assert_close(images.T @ images, flow.cov, atol=4 * 6**0.5 * 1.5 * expected, rtol=0)


@pytest.mark.parametrize(("solver", "seen"), [("euler", 2.0), ("heun", 4.0), ("midpoint", 8.0)])
def test_errors_fall_with_the_steps_by_the_solvers_order(solver: str, seen: float) -> None:
    # midpoint's leading term vanishes for this flow, whose paths are hyperbolas in t: 8, more than its order
    found = [errors(solver, steps) for steps in (64, 128, 256)]
    coarse, fine = (a / b for a, b in pairwise(found))
    assert fine >= 2 ** ORDERS[solver] * (1 - 0.1)
    # a ratio is 2^p + O(h): off by half as much when the step is halved
    assert abs(fine - seen) < 0.75 * abs(coarse - seen)
    assert fine == pytest.approx(seen, rel=0.1)


def test_solvers_are_exact_for_the_polynomials_of_their_order() -> None:
    def power(exponent: int) -> Velocity:
        return lambda x, t: t[:, None, None, None] ** exponent * torch.ones_like(x)

    x = torch.zeros(1, 1, 1, 1, dtype=torch.float64)
    for solver, order in ORDERS.items():
        for exponent in range(3):  # the integral of t^k from 0.2 to 1
            found = float(integrate(power(exponent), x, [0.2, 0.6, 1.0], solver))
            exact = found == pytest.approx((1 - 0.2 ** (exponent + 1)) / (exponent + 1), abs=1e-12)
            assert exact == (exponent < order), (solver, exponent)


@pytest.mark.parametrize(("solver", "down", "up"), [("euler", 18, 18), ("heun", 35, 36), ("midpoint", 36, 36)])
def test_evaluations_are_those_that_are_said_and_none_is_at_0_on_the_way_to_images(
    solver: str, down: int, up: int
) -> None:
    for grid in GRIDS.values():
        found = evaluation_times(grid(18), solver)
        assert len(found) == down
        assert max(found) == 1 and min(found) > 0
        assert len(evaluation_times(grid(18)[::-1], solver)) == up


def test_two_points_are_reached_and_the_sign_of_the_noise_decides_which() -> None:
    a = 0.7
    z = torch.cat([torch.linspace(-3, -0.05, 30), torch.linspace(0.05, 3, 30)]).double().reshape(60, 1, 1, 1)
    flow = Points(torch.tensor([-a, a], dtype=torch.float64).reshape(2, 1, 1, 1))
    t = torch.full((60,), 0.3, dtype=torch.float64)
    mean = z - 0.3 * flow(z, t)
    torch.testing.assert_close(mean, a * torch.tanh((1 - 0.3) * a * z / 0.3**2), atol=1e-12, rtol=0)
    for solver in ("heun", "midpoint"):
        # the last step of Heun is to a tanh(y) with y > (1 - t) a |x| / t^2 at t = 1 / 40, x near a: 1 - tanh is 0
        found = integrate(flow, z, uniform(40), solver)
        torch.testing.assert_close(found, a * z.sign(), atol=1e-3, rtol=0)


def test_a_way_up_and_down_returns_to_its_start_to_second_order() -> None:
    flow, z = correlated(6), noise(20, 6)
    image = flow.image_of(z)

    def round_trip(steps: int) -> float:
        up = integrate(flow, image, uniform(steps)[::-1], "heun")
        return float((integrate(flow, up, uniform(steps), "heun") - image).square().mean().sqrt())

    coarse, middle, fine = round_trip(32), round_trip(64), round_trip(128)
    assert fine < 1e-3
    assert abs(middle / fine - 4) < 0.75 * abs(coarse / middle - 4)


def test_uniform_times_are_numpys() -> None:
    for steps in (1, 7, 18):
        assert uniform(steps) == pytest.approx(np.linspace(1, 0, steps + 1), abs=1e-15)


def test_rho7_times_are_the_noise_levels_of_karras() -> None:
    times = np.array(rho7(18))
    assert times[0] == 1 and times[-1] == 0 and (np.diff(times) < 0).all() and len(times) == 19
    sigma = times[1:-1] / (1 - times[1:-1])
    place = np.arange(1, 18)
    assert sigma == pytest.approx((80 ** (1 / 7) + place / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7, rel=1e-10)
    assert rho7(1) == [1, 0] and rho7(2)[1] == pytest.approx(0.002 / 1.002)


def test_after_step_sees_every_step_and_may_stop() -> None:
    seen: list[tuple[int, Tensor]] = []
    z = noise(3, 6)
    found = integrate(correlated(6), z, uniform(5), "heun", lambda step, x: seen.append((step, x)))
    assert [step for step, _ in seen] == list(range(5))
    assert torch.equal(seen[-1][1], found)

    def stop(step: int, x: Tensor) -> None:
        if step == 2:
            raise InterruptedError

    calls = 0

    def counted(x: Tensor, t: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return x

    with pytest.raises(InterruptedError):
        integrate(counted, z, uniform(5), "euler", stop)
    assert calls == 3


def test_an_unknown_solver_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown solver 'hein': did you mean 'heun'"):
        integrate(correlated(6), noise(1, 6), uniform(2), "hein")
