"""A network that learns from samples of a Gaussian, against the Gaussian's own velocity, mean and covariance."""

import math
from itertools import pairwise
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from skipway.data.loader import Batch
from skipway.tasks.batch_random import BatchRandom
from skipway.tasks.generate.flow import interpolate, velocity_target
from skipway.tasks.generate.sampler import Sampler
from skipway.tasks.generate.task import Generate
from tests.generate.closed_forms import Gaussian, correlated

SHAPE, DIMENSIONS = (1, 2, 2), 4
STEPS, BATCH, SAMPLES = 1500, 256, 2000
CPU = torch.device("cpu")


class Perceptron(nn.Module):
    """Two hidden layers on pixels, functions of the time, and their products."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3 * DIMENSIONS + 3, 64, 64, DIMENSIONS)
        self.first, self.second, self.last = (nn.Linear(i, o) for i, o in pairwise(widths))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        pixels, linear = x.flatten(1), t[:, None]
        square = 2 * linear.square() - 1
        inputs = [pixels, linear * pixels, square * pixels, linear, square, (6 * linear).cos()]
        hidden = nn.functional.silu(self.first(torch.cat(inputs, 1)))
        return self.last(nn.functional.silu(self.second(hidden))).reshape(x.shape)


class Learnt(NamedTuple):
    """A Gaussian, a network that has learnt its velocity, and that network before."""

    flow: Gaussian
    net: Perceptron
    untrained: Perceptron


@pytest.fixture(scope="module")
def learnt() -> Learnt:
    """Trained for some seconds on new samples each step, with the task's own loss, times and noise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Perceptron()
    untrained = Perceptron()
    untrained.load_state_dict(net.state_dict())
    flow, generator = correlated(DIMENSIONS), torch.Generator().manual_seed(0)
    task, labels = Generate(("gaussian",), time_mean=0.0, time_std=1.5), torch.zeros(BATCH, dtype=torch.int64)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.01, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for step in range(STEPS):
        images = flow.image_of(torch.randn(BATCH, *SHAPE, generator=generator, dtype=torch.float64)).float()
        optimiser.zero_grad()
        task.loss(net, Batch(images, labels), BatchRandom(step, BATCH, slice(None), CPU)).losses["loss"].backward()
        optimiser.step()
        schedule.step()
    return Learnt(flow, net.eval(), untrained.eval())


@torch.no_grad()
def errors_at(time: float, learnt: Learnt, net: nn.Module, count: int = 5000) -> tuple[float, float, float]:
    """At `time`: the mean square of the network's error, relative to that of the closed form's velocity; and the losses
    of both."""
    noise, other = torch.randn(2, count, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    images, t = learnt.flow.image_of(other), torch.full((count,), time, dtype=torch.float64)
    x, target = interpolate(images, noise, t), velocity_target(images, noise)
    exact, found = learnt.flow(x, t), net(x.float(), t.float(), torch.zeros(count)).double()
    share = (found - exact).square().mean() / exact.square().mean()
    return float(share), float((found - target).square().mean()), float((exact - target).square().mean())


@pytest.mark.parametrize("time", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_trained_networks_velocity_is_the_closed_form(time: float, learnt: Learnt) -> None:
    share, loss, least = errors_at(time, learnt, learnt.net)
    assert share < 0.03
    assert loss == pytest.approx(least, rel=0.02)
    before, _, _ = errors_at(time, learnt, learnt.untrained)
    assert before > 0.3


def moments_off(learnt: Learnt, net: Perceptron) -> tuple[float, float]:
    """How far mean and covariance of SAMPLES samples are off the Gaussian's at most, in standard errors of as many
    samples of the Gaussian itself: sqrt(c_ii / N), and sqrt((c_ij^2 + c_ii c_jj) / N)."""
    drawn = Sampler(net, 1, SHAPE, CPU, 500).sample([0] * SAMPLES, seed=3).flatten(1).double()
    cov = learnt.flow.cov
    variances = cov.diagonal()
    mean_error = (variances / SAMPLES).sqrt()
    cov_error = ((cov**2 + torch.outer(variances, variances)) / SAMPLES).sqrt()
    mean, found = (drawn.mean(0) - learnt.flow.mean) / mean_error, (torch.cov(drawn.T) - cov) / cov_error
    return float(mean.abs().max()), float(found.abs().max())


def test_the_samples_have_the_mean_and_covariance_of_what_was_learnt(learnt: Learnt) -> None:
    # the greatest of 4 and of 10 normal numbers is below 4 but for one seed in a thousand
    mean, cov = moments_off(learnt, learnt.net)
    assert mean < 4 and cov < 4
    mean, cov = moments_off(learnt, learnt.untrained)
    assert max(mean, cov) > 4 * math.sqrt(10)  # a tenth of the samples would tell it
