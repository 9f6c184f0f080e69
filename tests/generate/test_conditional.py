"""Filling in and denoising images, against what is known of Gaussians."""

import math

import pytest
import torch
from torch import Tensor

from skipway.errors import SkipwayError
from skipway.tasks.generate.sampler import Sampler, SamplingOptions
from tests.generate.closed_forms import Gaussian, PerPixel, correlated

CPU = torch.device("cpu")
SHAPE = (3, 2, 2)
WIDE = (1, 64, 64)  # 4,096 pixels


def of_flow(flow: Gaussian | PerPixel, shape: tuple[int, int, int] = SHAPE, batch: int = 4) -> Sampler:
    return Sampler(lambda x, t, labels: flow(x, t), 0, shape, CPU, batch)


def noisy_images(flow: Gaussian, count: int, sigma: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    image, noise = torch.randn(2, count, *SHAPE, generator=generator, dtype=torch.float64)
    return (flow.image_of(image) + sigma * noise).float()


@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
def test_denoising_is_wieners_filter(sigma: float) -> None:
    flow = correlated(12)
    noisy = noisy_images(flow, 6, sigma)
    wiener = flow.cov @ torch.linalg.inv(flow.cov + sigma**2 * torch.eye(12))
    wanted = flow.mean + (noisy.flatten(1).double() - flow.mean) @ wiener.T
    found = of_flow(flow).denoise(noisy, sigma, [None] * 6)
    # some ten float32 operations, each off by 6e-8 of numbers up to 10 sigma + 1
    torch.testing.assert_close(found.flatten(1).double(), wanted, atol=6e-7 * (10 * sigma + 1), rtol=0)


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_posterior_samples_have_the_mean_and_deviation_of_the_posterior(sigma: float) -> None:
    deviation, mean, y = 0.6, 0.2, 0.9
    drawer = of_flow(PerPixel(torch.tensor([mean]), torch.tensor([[deviation**2]])), WIDE, 1)
    noisy = torch.full((1, *WIDE), y)
    found = drawer.posterior(noisy, sigma, [None], options=SamplingOptions(100))
    wanted = mean + deviation**2 / (deviation**2 + sigma**2) * (y - mean)
    spread = deviation * sigma / math.hypot(deviation, sigma)
    count = found.numel()
    # of first order, so that with half the steps it is twice as far off: the change bounds the error of 100 steps
    half = drawer.posterior(noisy, sigma, [None], options=SamplingOptions(50))
    solver = float(found.std() - half.std())
    assert abs(solver) < 0.02 * spread
    assert float(found.mean()) == pytest.approx(wanted, abs=4 * spread / math.sqrt(count))
    sampling = 4 * spread / math.sqrt(2 * count)
    assert float(found.std()) == pytest.approx(spread, abs=1.5 * abs(solver) + 3 * sampling)


def two_channels(correlation: float) -> Sampler:
    cov = torch.tensor([[1.0, correlation], [correlation, 1.0]])
    return of_flow(PerPixel(torch.zeros(2), cov), (2, 64, 64), 1)


FIRST = torch.tensor([True, False])[None, :, None, None].expand(1, 2, 64, 64)  # of two channels, known


def test_filled_in_pixels_follow_the_known_ones_and_more_so_with_repeats() -> None:
    drawer, value = two_channels(0.8), 1.5
    images, shares = torch.full((1, 2, 64, 64), value), []
    for repeats in (1, 5, 10):
        found = drawer.inpaint(images, FIRST, [None], repeats=repeats)
        assert torch.equal(found[:, 0], images[:, 0]), "known values are exact"
        shares.append(float(found[:, 1].mean()) / (0.8 * value))
        assert 0.5 < float(found[:, 1].std()) < 0.9  # 0.6 given the other, 1 alone
    # means of 4,096 numbers of deviation below 0.9, over 1.2: within 4 times 0.012
    assert shares == pytest.approx([0.41, 0.81, 0.90], abs=0.048)


def test_without_dependence_filled_in_pixels_are_those_of_the_flow() -> None:
    drawer = two_channels(0.0)
    found = drawer.inpaint(torch.full((1, 2, 64, 64), 0.7), FIRST, [None], repeats=3)[:, 1]
    assert abs(float(found.mean())) < 4 / math.sqrt(found.numel())
    # the flow is linear: its solver's error of the deviation is that of the image of 1, here also added three times
    error = abs(float(drawer.decode(torch.ones(1, 2, 64, 64), [None])[0, 0, 0, 0]) - 1)
    assert float(found.std()) == pytest.approx(1, abs=4 / math.sqrt(2 * found.numel()) + 3 * error)


def test_an_image_is_filled_in_and_denoised_alike_alone_and_among_others() -> None:
    drawer, images = of_flow(correlated(12)), noisy_images(correlated(12), 6, 0.2)
    known = torch.rand(6, 1, 2, 2, generator=torch.Generator().manual_seed(0)) < 0.5
    options = SamplingOptions(4)
    drawn = drawer.inpaint(images, known, [None] * 6, 3, options, 2)
    alone = drawer.inpaint(images[5:], known[5:], [None], 3, options, 2, [5])
    assert torch.equal(alone[0], drawn[5])
    where = known.expand_as(images)
    assert torch.equal(drawn[where], images[where]) and not torch.isclose(drawn, images)[~where].any()
    likely = drawer.posterior(images, 0.5, [None] * 6, 3, options)
    assert torch.equal(drawer.posterior(images[4:], 0.5, [None] * 2, 3, options, [4, 5]), likely[4:])
    mean = drawer.denoise(images, 0.5, [None] * 6)
    assert torch.equal(drawer.denoise(images[5:], 0.5, [None]), mean[5:])


def test_filling_in_reports_its_steps_and_evaluates_each_as_often_as_repeated() -> None:
    calls = 0

    def net(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return -x

    steps: list[tuple[int, int]] = []
    known = torch.ones(6, 1, 2, 2, dtype=torch.bool)
    Sampler(net, 0, SHAPE, CPU, 4).inpaint(
        torch.zeros(6, *SHAPE),
        known,
        [None] * 6,
        0,
        SamplingOptions(3),
        2,
        None,
        lambda step, x: steps.append((step, len(x))),
    )
    assert steps == [(0, 4), (1, 4), (2, 4), (3, 2), (4, 2), (5, 2)]
    assert calls == 2 * 2 * SamplingOptions(3).evaluations


def test_noise_levels_and_masks_that_make_no_sense_are_refused() -> None:
    drawer, images = of_flow(correlated(12)), torch.zeros(2, *SHAPE)
    for sigma in (0.0, -1.0, math.inf, math.nan):
        for call in (drawer.denoise, drawer.posterior):
            with pytest.raises(SkipwayError, match="a noise level of"):
                call(images, sigma, [None] * 2)
    mask = torch.ones(2, 1, 2, 3, dtype=torch.bool)
    with pytest.raises(SkipwayError, match=r"a mask of the shape \(2, 1, 2, 3\)"):
        drawer.inpaint(images, mask, [None] * 2)
    with pytest.raises(SkipwayError, match="0 repeats"):
        drawer.inpaint(images, mask[..., :2], [None] * 2, repeats=0)
