"""The path between images and noise, against derivatives, Karras's form and SciPy's distributions."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from skipway.errors import SkipwayError
from skipway.tasks.generate.flow import (
    denoised,
    interpolate,
    logit_normal,
    slerp,
    time_of,
    velocity_target,
    with_noise,
)
from tests.generate.closed_forms import correlated

EXACT = 1e-12  # float64 rounding of some ten operations on numbers near 1


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(5, 3, 4, 6, dtype=torch.float64) * 2 - 1, torch.randn(5, 3, 4, 6, dtype=torch.float64)


def test_the_path_goes_from_images_to_noise_at_the_velocity_that_is_learned() -> None:
    images, noise = pair()
    zero, one = torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.float64)
    assert torch.equal(interpolate(images, noise, zero), images)
    assert torch.equal(interpolate(images, noise, one), noise)
    t, half = torch.linspace(0.1, 0.9, 5, dtype=torch.float64), 1 / 16
    # the path is a straight line, of which a difference is the derivative
    difference = (interpolate(images, noise, t + half) - interpolate(images, noise, t - half)) / (2 * half)
    torch.testing.assert_close(difference, velocity_target(images, noise), atol=EXACT, rtol=0)


def test_the_true_velocity_of_an_image_denoises_it_exactly() -> None:
    images, noise = pair()
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    found = denoised(interpolate(images, noise, t), t, velocity_target(images, noise))
    torch.testing.assert_close(found, images, atol=EXACT, rtol=0)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 1.0, 20.0])
def test_the_denoised_image_is_that_of_karras_at_the_same_noise_level(sigma: float) -> None:
    flow, t = correlated(6), time_of(sigma)
    torch.manual_seed(0)
    x = torch.randn(7, 1, 2, 3, dtype=torch.float64)
    times = torch.full((7,), t, dtype=torch.float64)
    noisy = (x / (1 - t)).flatten(1)  # = (1 + sigma) x: an image with noise of deviation sigma
    wiener = flow.cov @ torch.linalg.inv(flow.cov + sigma**2 * torch.eye(6, dtype=torch.float64))
    wanted = flow.mean + (noisy - flow.mean) @ wiener.T
    # rounding, enlarged by (1 + sigma) and by the condition of the inverse, at most (1 + sigma^2) / (0.2^2 + sigma^2)
    found = denoised(x, times, flow(x, times)).flatten(1)
    torch.testing.assert_close(found, wanted, atol=EXACT * (1 + sigma) * 25, rtol=0)


@pytest.mark.parametrize("time", [0.1, 0.5, 0.9])
def test_the_least_loss_is_that_of_the_flows_velocity(time: float) -> None:
    flow, count, dimensions = correlated(6), 20_000, 6
    generator = torch.Generator().manual_seed(0)
    noise, other = torch.randn(2, count, 1, 2, 3, generator=generator, dtype=torch.float64)
    images, t = flow.image_of(other), torch.full((count,), time, dtype=torch.float64)
    x, target = interpolate(images, noise, t), velocity_target(images, noise).flatten(1)
    loss = (flow(x, t).flatten(1) - target).square().mean()
    # the best affine velocity for these very samples; fitting 7 numbers for each of 6 targets lowers the loss by 7 / N
    inputs = torch.cat([x.flatten(1), torch.ones(count, 1, dtype=torch.float64)], 1)
    fitted = inputs @ torch.linalg.lstsq(inputs, target).solution
    saved = float(1 - (fitted - target).square().mean() / loss) * count
    # a weighted mean of 6 chi-squared numbers of 7 degrees of freedom, whose deviation is at most that of one, sqrt(14)
    assert 0 < saved < dimensions + 1 + 5 * math.sqrt(2 * (dimensions + 1))


def test_logit_normal_times_have_scipys_distribution() -> None:
    normal = torch.from_numpy(stats.norm.ppf((np.arange(1000) + 0.5) / 1000))
    times = logit_normal(normal, -0.8, 1.2).numpy()
    assert 0 < times.min() < times.max() < 1
    for level in (0.01, 0.2, 0.5, 0.9):
        expected = stats.norm.cdf(math.log(level / (1 - level)), -0.8, 1.2)
        # 1,000 evenly spread quantiles know a distribution function to half a step
        assert (times <= level).mean() == pytest.approx(expected, abs=0.5001 / 1000)


def test_noise_added_to_an_image_on_the_path_leaves_it_on_the_path() -> None:
    # x_time has the image's share 1 - time and noise of variance time^2; so must x_after
    one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    for time, after in ((0.0, 0.1), (0.2, 0.5), (0.9, 1.0), (0.0, 1.0)):
        image_share = float(with_noise((1 - time) * one, time, after, zero))
        old, new = float(with_noise(time * one, time, after, zero)), float(with_noise(zero, time, after, one))
        assert image_share == pytest.approx(1 - after, abs=EXACT)
        assert old**2 + new**2 == pytest.approx(after**2, abs=EXACT)


def test_slerp_turns_one_noise_into_the_other_at_equal_length_and_even_angles() -> None:
    a, b = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    b = b * a.norm() / b.norm()
    found = slerp(a, b, [0, 0.25, 0.5, 0.75, 1])
    torch.testing.assert_close(found[0], a)
    torch.testing.assert_close(found[-1], b)
    lengths = found.flatten(1).double().norm(dim=1)
    torch.testing.assert_close(lengths, lengths[:1].expand(5), rtol=1e-6, atol=0)  # float32 rounding
    unit = found.flatten(1).double() / lengths[:, None]
    angles = torch.linalg.vecdot(unit[:-1], unit[1:]).clamp(-1, 1).acos()
    # acos near 1.1 rad / 4 enlarges the rounding of its argument, 1e-7, by 1 / sin: about 4
    torch.testing.assert_close(angles, angles[:1].expand(4), rtol=0, atol=1e-6)


def test_slerp_of_equal_noises_stays_there_and_of_opposite_ones_is_refused() -> None:
    a = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(slerp(a, a, [0.3])[0], a)
    with pytest.raises(SkipwayError, match="opposite noises"):
        slerp(a, -a, [0.5])
