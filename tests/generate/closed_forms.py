"""Velocities of distributions whose flow from noise is known."""

import torch
from torch import Tensor


class Gaussian:
    """The flow to N(mean, cov) of images of `shape`, flattened (D,), (D, D): it sends noise z to mean + cov^(1/2) z.

    With the eigenvalues s^2 of cov, v = -m + (t - (1 - t) s^2) / ((1 - t)^2 s^2 + t^2) (x - (1 - t) m).
    """

    def __init__(self, mean: Tensor, cov: Tensor) -> None:
        self.mean, self.cov = mean, cov
        self.variances, self.axes = torch.linalg.eigh(cov)

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        t = t.to(x.dtype)[:, None]
        mean, axes, variances = (part.to(x.dtype) for part in (self.mean, self.axes, self.variances))
        rate = (t - (1 - t) * variances) / ((1 - t) ** 2 * variances + t**2)
        along = (x.flatten(1) - (1 - t) * mean) @ axes
        return (-mean + (rate * along) @ axes.T).reshape(x.shape)

    def image_of(self, noise: Tensor) -> Tensor:
        root = self.axes * self.variances.sqrt() @ self.axes.T
        return (self.mean + noise.flatten(1).double() @ root).reshape(noise.shape)


def correlated(dimensions: int, seed: int = 0) -> Gaussian:
    """A Gaussian with standard deviations from 0.2 to 1 along random axes, and a mean in [-0.5, 0.5]."""
    generator = torch.Generator().manual_seed(seed)
    axes, _ = torch.linalg.qr(torch.randn(dimensions, dimensions, generator=generator, dtype=torch.float64))
    deviations = torch.linspace(0.2, 1, dimensions, dtype=torch.float64)
    mean = torch.rand(dimensions, generator=generator, dtype=torch.float64) - 0.5
    return Gaussian(mean, axes * deviations**2 @ axes.T)


class PerPixel:
    """The flow to images (N, C, H, W) whose pixels are independent, the C channels of each normal: (C,), (C, C)."""

    def __init__(self, mean: Tensor, cov: Tensor) -> None:
        self.flow = Gaussian(mean.double(), cov.double())

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        pixels = x.movedim(1, -1)
        return self.flow(pixels.reshape(-1, x.shape[1]), t[:1]).reshape(pixels.shape).movedim(-1, 1)


class Points:
    """The flow to the given images (n, ...), each equally likely: v = (x - E[image given x_t = x]) / t."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        flat, t = self.images.flatten(1).to(x.dtype), t.to(x.dtype)[:, None]
        distances = (x.flatten(1)[:, None] - (1 - t[..., None]) * flat).square().sum(2)
        mean = torch.softmax(-distances / (2 * t**2), 1) @ flat
        return ((x.flatten(1) - mean) / t).reshape(x.shape)
