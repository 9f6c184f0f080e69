"""How probable a generator finds images, in bits per dimension.

The density of the image at the end of the path from noise is log p(x_0) = log N(x_1; 0, I) + the integral over t from
0 to 1 of the divergence of v (Chen 2018, arXiv:1806.07366; Song 2021, arXiv:2011.13456, sec. 4.3). The divergence is
the sum of the Jacobian's diagonal, or in many dimensions its estimate by random probes (Grathwohl 2019,
arXiv:1810.01367).
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from skipway.errors import refuse_if
from skipway.tasks.generate.draws import Draw, draws
from skipway.tasks.generate.flow import Velocity
from skipway.tasks.generate.sampler import Sampler, SamplingOptions
from skipway.tasks.generate.solvers import WEIGHTS, integrate, times_for

EXACT_DIMENSIONS = 64  # up to which the divergence is computed exactly: a pass of the network for each
PROBES = 8
# On a kernel density of 150 digits, deviation 0.034, it is 0.006 bits a dimension off; Heun on uniform times 0.037.
FOR_LIKELIHOOD = SamplingOptions(steps=36, solver="midpoint", grid="rho7")


@dataclass(frozen=True, eq=False)
class LogLikelihood:
    """nats: log p(x) of each image, float64 (N,). standard_error: of `nats` (N,), from its probes; 0 if exact."""

    nats: Tensor
    standard_error: Tensor


@dataclass(frozen=True, eq=False)
class BitsPerDimension:
    """bits: of each image, float64 (n,). standard_error: of each (n,), from its probes; 0 if exact."""

    bits: Tensor
    standard_error: Tensor

    @property
    def mean(self) -> float:
        return float(self.bits.mean())

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval of the mean over images like these (Student's t), probes included; of a single
        image, its own by its probes alone."""
        from scipy.stats import t

        error, degrees = float(self.standard_error[0]), PROBES - 1
        if len(self.bits) > 1:
            error, degrees = float(self.bits.std()) / math.sqrt(len(self.bits)), len(self.bits) - 1
        half = float(t.ppf(0.975, degrees)) * error
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class LikelihoodCost:
    """What the likelihoods of `images` images take: for each, evaluations of the network and gradients of it; and about
    how many seconds on the machine at hand."""

    images: int
    evaluations: int
    gradients: int
    seconds: float

    def images_in(self, seconds: float) -> int:
        """How many images take that long, at least one."""
        return max(1, int(self.images * seconds / self.seconds))


def log_likelihood(
    velocity: Velocity, images: Tensor, times: Sequence[float], solver: str, probes: Tensor | None = None
) -> LogLikelihood:
    """log p of images (N, C, H, W) by the flow of `velocity`, which must be differentiable in x.

    times: from 0 to 1. probes: of -1 and 1, (N, K, C, H, W) with K at least 2, the same along an image's path; without
    them the divergence is exact, by a gradient for each of C H W dimensions. Raises SkipwayError without gradients.
    """
    dimensions = images[0].numel()
    refuse_if(probes is not None and probes.shape[1] < 2, "one probe has no standard error", "give at least two")

    weights = [(after - time) * share for time, after in pairwise(times) for share in WEIGHTS[solver]]
    remaining, terms = iter(weights), []

    def watched(x: Tensor, t: Tensor) -> Tensor:
        weight = next(remaining)
        if not weight:
            return velocity(x, t)
        v, divergence = with_divergence(velocity, x, t, probes)
        terms.append(weight * divergence.double())
        return v

    with torch.inference_mode(False), torch.no_grad():
        noise = integrate(watched, images.clone(), times, solver).flatten(1).double()
        integrals = torch.stack(terms).sum(0)
    prior = -0.5 * noise.square().sum(1) - 0.5 * dimensions * math.log(2 * math.pi)
    error = torch.zeros_like(prior) if probes is None else integrals.std(1) / math.sqrt(probes.shape[1])
    return LogLikelihood(prior + integrals.mean(1), error)


def with_divergence(velocity: Velocity, x: Tensor, t: Tensor, probes: Tensor | None) -> tuple[Tensor, Tensor]:
    """The velocity (N, C, H, W), and its divergence: exact (N, 1), or an estimate by each probe (N, K)."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        v = velocity(x, t)
    refuse_if(not v.requires_grad, "likelihoods need gradients, which this engine has not", "use the network itself")
    if probes is not None:
        products = [(gradient_along(v, x, probe) * probe).flatten(1).sum(1) for probe in probes.unbind(1)]
        return v.detach(), torch.stack(products, 1)
    divergence = x.new_zeros(len(x))
    for place in np.ndindex(*x.shape[1:]):
        direction = torch.zeros_like(v)
        direction[:, *place] = 1
        divergence = divergence + gradient_along(v, x, direction)[:, *place]
    return v.detach(), divergence[:, None]


def gradient_along(v: Tensor, x: Tensor, direction: Tensor) -> Tensor:
    """The product of `direction` and the Jacobian of v, for each image."""
    (gradient,) = torch.autograd.grad(v, x, direction, retain_graph=True)
    return gradient


def dequantised(values: Tensor, uniform: Tensor, levels: int) -> Tensor:
    """Images of whole numbers 0 to levels - 1 as float32 in [-1, 1]: each value u becomes the interval of length
    2 / levels from 2 u / levels - 1 on, in which `uniform`, numbers from [0, 1), is the place (Uria 2013,
    arXiv:1306.0186; Theis 2016, arXiv:1511.01844, sec. 3.1)."""
    return (2 * (values + uniform) / levels - 1).float()


def bits_of(nats: Tensor, dimensions: int, levels: int) -> Tensor:
    """Bits per dimension of whole numbers from the log density of `dequantised` images: log2(levels / 2), 7 bits at 256
    levels, is the length of a value's interval."""
    return -nats / (dimensions * math.log(2)) + math.log2(levels / 2)


@torch.inference_mode(False)
def bits_per_dimension(
    sampler: Sampler,
    values: Tensor,
    labels: Sequence[int | None],
    levels: int = 256,
    seed: int = 0,
    options: SamplingOptions = FOR_LIKELIHOOD,
    probes: int = PROBES,
) -> BitsPerDimension:
    """An upper bound, by one dequantisation, of the bits that a generator needs for each number in images.

    values: whole numbers 0 to levels - 1 (n, C, H, W); labels: their classes, None for the null class; options: of the
    integration, with guidance 1 for the likelihood of the network as it was trained. The divergence is exact up to
    EXACT_DIMENSIONS; above them by `probes`. Random numbers of an image follow from `seed` and its place.
    Raises SkipwayError.
    """
    refuse_if(levels < 2, f"images of {levels} levels", "give at least 2")
    sampler.require_images(values, labels)
    values = values.double().cpu()  # 256 is no number of uint8
    outside = bool(((values < 0) | (values >= levels)).any())
    refuse_if(outside, f"images have values outside 0 to {levels - 1}", "give the number of their levels")
    shape, dimensions = sampler.shape, math.prod(sampler.shape)
    uniform = [draws(Draw.DEQUANTISATION, seed, place).random(shape) for place in range(len(values))]
    images = dequantised(values, torch.from_numpy(np.stack(uniform)), levels)
    found = []
    for rows, velocity in sampler.batches(labels, options):
        places, signs = range(len(values))[rows], None
        if dimensions > EXACT_DIMENSIONS:
            signs = sampler.fill(rademacher(seed, places, (probes, *shape)))
        times = options.times[::-1]
        likelihood = log_likelihood(velocity, sampler.fill(images[rows]), times, options.solver, signs)
        found.append(torch.stack([likelihood.nats, likelihood.standard_error])[:, : len(places)].cpu())
    nats, error = torch.cat(found, 1)
    return BitsPerDimension(bits_of(nats, dimensions, levels), error / (dimensions * math.log(2)))


def likelihood_cost(
    sampler: Sampler,
    labels: Sequence[int | None],
    options: SamplingOptions = FOR_LIKELIHOOD,
    probes: int = PROBES,
) -> LikelihoodCost:
    """What `bits_per_dimension` of images of `labels` costs, from the time of one evaluation with its gradients."""
    _, velocity = next(sampler.batches(labels, options))
    dimensions, weights = math.prod(sampler.shape), WEIGHTS[options.solver]
    gradients = dimensions if dimensions <= EXACT_DIMENSIONS else probes
    with torch.inference_mode(False):
        x = sampler.fill(sampler.noise(0, [0]))
        one = sampler.fill(rademacher(0, [0], (1, *sampler.shape)))
        t, signs = times_for(x, 0.5), None if gradients == dimensions else one.expand(-1, probes, -1, -1, -1)
        with_divergence(velocity, x, t, one)[1].sum().item()  # the first evaluation also chooses kernels
        start = time.perf_counter()
        with_divergence(velocity, x, t, one)[1].sum().item()  # a number that is read waits for a GPU
        halfway = time.perf_counter()
        with_divergence(velocity, x, t, signs)[1].sum().item()
        both = time.perf_counter() - halfway
    counted = sum(weight > 0 for weight in weights)  # of a step's evaluations, the others need no gradients
    step = counted * both + (len(weights) - counted) * (halfway - start) / 2
    batches = math.ceil(len(labels) / sampler.batch)
    steps = options.steps
    return LikelihoodCost(len(labels), steps * len(weights), steps * counted * gradients, batches * steps * step)


def rademacher(seed: int, places: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """-1 and 1, equally likely, float32 (n, *shape), each image's from the seed and its place alone."""
    rows = [draws(Draw.PROBES, seed, place).integers(0, 2, shape, dtype=np.int8) for place in places]
    return torch.from_numpy(np.stack(rows)).float() * 2 - 1
