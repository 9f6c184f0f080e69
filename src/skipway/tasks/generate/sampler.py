"""Images from a velocity network: drawn from noise, and what else the flow between images and noise allows.

Every image is computed from its own random numbers and in batches of one fixed size, so that it has the same digits
alone, among others, and in any order (kernels choose their order of summation by the shape of the batch).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skipway.errors import refuse_if
from skipway.tasks.generate.conditional import denoised_mean, inpainted, posterior_sample
from skipway.tasks.generate.draws import Draw, normal, normals
from skipway.tasks.generate.flow import Velocity, VelocityNetwork, slerp, time_of
from skipway.tasks.generate.guidance import evaluations_at, guided
from skipway.tasks.generate.solvers import (
    GRIDS,
    AfterStep,
    evaluation_times,
    integrate,
    require_grid,
    require_solver,
)
from skipway.tasks.generate.trajectory import Frame, Watched


@dataclass(frozen=True)
class SamplingOptions:
    """How images follow from noise.

    steps: of the solver; solver, grid: by name, of SOLVERS and GRIDS; guidance, interval: see `guided`.
    Raises SkipwayError, UnknownNameError.
    """

    steps: int = 18
    solver: str = "heun"
    guidance: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)
    grid: str = "uniform"

    def __post_init__(self) -> None:
        refuse_if(self.steps < 1, f"{self.steps} steps", "give at least 1")
        require_solver(self.solver)
        require_grid(self.grid)
        good = math.isfinite(self.guidance) and self.guidance >= 0
        refuse_if(not good, f"guidance {self.guidance}", "give 1 for none, more for clearer classes")
        low, high = self.interval
        refuse_if(
            not 0 <= low < high <= 1, f"guidance in the times {low} to {high}", "give two times, 0 <= low < high <= 1"
        )

    @property
    def times(self) -> list[float]:
        """steps + 1 times from 1 (noise) to 0 (image)."""
        return GRIDS[self.grid](self.steps)

    @property
    def evaluations(self) -> int:
        """Network evaluations for an image drawn from noise: of 18 steps of Heun without guidance 35."""
        times = evaluation_times(self.times, self.solver)
        return sum(evaluations_at(time, self.guidance, self.interval) for time in times)


DEFAULT = SamplingOptions()


@dataclass(frozen=True)
class Sampler:
    """Draws images from a network.

    net: on `device`, in evaluation mode. It is always given `batch` images, or twice as many with guidance. classes: K;
    label K is the null class. shape: (C, H, W). Images and noise are float32 on the CPU; images are in [-1, 1], and
    samples but for some overshoot. labels: a class for each image, None for the null class.
    All methods raise SkipwayError for a class that is not there, another shape, and values that are not finite.
    """

    net: VelocityNetwork
    classes: int
    shape: tuple[int, int, int]
    device: torch.device
    batch: int

    def noise(self, seed: int, indices: Sequence[int]) -> Tensor:
        """Standard normal numbers (n, C, H, W) on the CPU; image i's follow from (seed, i) alone."""
        return normal(Draw.NOISE, seed, indices, self.shape)

    def sample(
        self,
        labels: Sequence[int | None],
        seed: int = 0,
        options: SamplingOptions = DEFAULT,
        indices: Sequence[int] | None = None,
        after_step: AfterStep | None = None,
    ) -> Tensor:
        """Images (n, C, H, W) from the noises of `seed` and `indices`, 0 to n - 1 by default.

        after_step: called with the number of steps so far, from 0 to steps * ceil(n / batch) - 1, and the images of the
        batch at hand after that step, on `device`; what it raises ends the drawing.
        """
        indices = self.indices_for(labels, indices)
        return self.solve(lambda rows: self.noise(seed, indices[rows]), labels, options, options.times, after_step)

    def decode(
        self,
        noise: Tensor,
        labels: Sequence[int | None],
        options: SamplingOptions = DEFAULT,
        after_step: AfterStep | None = None,
    ) -> Tensor:
        """The images of given noises (n, C, H, W); after_step: as of `sample`."""
        self.require_images(noise, labels)
        return self.solve(lambda rows: noise[rows], labels, options, options.times, after_step)

    def invert(self, images: Tensor, labels: Sequence[int | None], options: SamplingOptions = DEFAULT) -> Tensor:
        """The noises from which `decode` makes these images, up to the solver's error."""
        self.require_images(images, labels)
        return self.solve(lambda rows: images[rows], labels, options, options.times[::-1])

    def interpolate(
        self, first: Tensor, last: Tensor, labels: Sequence[int | None], options: SamplingOptions = DEFAULT
    ) -> Tensor:
        """Images (n, C, H, W) of equally spaced noises on the great circle from the noise `first` to `last` (C, H, W),
        both included. Between two images: between what `invert` finds of them."""
        self.require_shape(torch.stack([first, last]))
        refuse_if(len(labels) < 2, "an interpolation has two ends", "ask for at least 2 images")
        fractions = [place / (len(labels) - 1) for place in range(len(labels))]
        return self.decode(slerp(first, last, fractions), labels, options)

    def trajectory(
        self,
        labels: Sequence[int | None],
        seed: int = 0,
        options: SamplingOptions = DEFAULT,
        frames: int = 8,
        indices: Sequence[int] | None = None,
    ) -> list[Frame]:
        """`frames` frames of the way from noise (first) to image (last), at evenly chosen steps; as many as there are
        if steps are fewer. They need no evaluations besides those of `sample`."""
        refuse_if(frames < 2, f"a path of {frames} frames", "ask for at least 2, noise and image")
        indices, times = self.indices_for(labels, indices), options.times
        chosen = np.unique(np.linspace(0, options.steps, min(frames, len(times))).round().astype(int)).tolist()
        parts: list[dict[int, tuple[Tensor, Tensor]]] = []
        for rows, velocity in self.batches(labels, options):
            watched = Watched(velocity, chosen)
            with torch.inference_mode():
                integrate(
                    watched, self.fill(self.noise(seed, indices[rows])), times, options.solver, watched.after_step
                )
            count = rows.stop - rows.start
            parts.append({step: (on_cpu(x, count), on_cpu(mean, count)) for step, (x, mean) in watched.seen.items()})
        return [
            Frame(times[step], *(torch.cat(p) for p in zip(*(q[step] for q in parts), strict=True))) for step in chosen
        ]

    def inpaint(
        self,
        images: Tensor,
        known: Tensor,
        labels: Sequence[int | None],
        seed: int = 0,
        options: SamplingOptions = DEFAULT,
        repeats: int = 5,
        indices: Sequence[int] | None = None,
        after_step: AfterStep | None = None,
    ) -> Tensor:
        """`images` (n, C, H, W) where `known`, bool (n, 1 or C, H, W), and drawn to match elsewhere.

        Each step is made `repeats` times, so that the other pixels come to agree with the known ones (see `inpainted`):
        of two normal pixels with correlation 0.8, the mean of one given the other is 0.41 of what it should be with 1,
        0.81 with 5, 0.90 with 10. Evaluations are `repeats` times those of `sample`. after_step: as of `sample`.
        """
        self.require_images(images, labels)
        refuse_if(repeats < 1, f"{repeats} repeats", "give at least 1")
        fits = (
            known.shape[2:] == images.shape[2:]
            and known.shape[0] in (1, len(images))
            and known.shape[1] in (1, self.shape[0])
        )
        refuse_if(
            not fits, f"a mask of the shape {tuple(known.shape)}", f"give one of the images', {tuple(images.shape)}"
        )
        indices, known = self.indices_for(labels, indices), known.expand_as(images)

        def filled(velocity: Velocity, rows: slice) -> Tensor:
            noise = self.noises(Draw.INPAINTING, seed, indices[rows])
            start, image = self.fill(self.noise(seed, indices[rows])), self.fill(images[rows])
            fixed, report = self.fill(known[rows].float()) > 0, self.reported(after_step, rows, options)
            return inpainted(velocity, start, image, fixed, options.times, options.solver, repeats, noise, report)

        return self.each_batch(labels, options, filled)

    def denoise(self, noisy: Tensor, sigma: float, labels: Sequence[int | None]) -> Tensor:
        """The mean of the images that `noisy` (n, C, H, W) may be, with normal noise of standard deviation `sigma` in
        units of [-1, 1] (8-bit levels / 127.5), in one evaluation."""
        self.require_images(noisy, labels)
        require_sigma(sigma)
        time = time_of(sigma)
        return self.each_batch(
            labels, DEFAULT, lambda velocity, rows: denoised_mean(velocity, self.fill(noisy[rows]), time)
        )

    def posterior(
        self,
        noisy: Tensor,
        sigma: float,
        labels: Sequence[int | None],
        seed: int = 0,
        options: SamplingOptions = DEFAULT,
        indices: Sequence[int] | None = None,
    ) -> Tensor:
        """Of the images that `noisy` may be, as in `denoise`, one at random for each.

        One evaluation for each of `options.steps`, of first order (see `posterior_sample`); `options.solver` does not
        apply.
        """
        self.require_images(noisy, labels)
        require_sigma(sigma)
        indices, times = self.indices_for(labels, indices), [time_of(sigma) * time for time in options.times]

        def drawn(velocity: Velocity, rows: slice) -> Tensor:
            noise = self.noises(Draw.POSTERIOR, seed, indices[rows])
            return posterior_sample(velocity, self.fill(noisy[rows]), times, noise)

        return self.each_batch(labels, options, drawn)

    # batches

    def solve(
        self,
        start: Callable[[slice], Tensor],
        labels: Sequence[int | None],
        options: SamplingOptions,
        times: Sequence[float],
        after_step: AfterStep | None = None,
    ) -> Tensor:
        """The solutions at the last of `times` that are `start` at the first."""

        def solved(velocity: Velocity, rows: slice) -> Tensor:
            report = self.reported(after_step, rows, options)
            return integrate(velocity, self.fill(start(rows)), times, options.solver, report)

        return self.each_batch(labels, options, solved)

    def reported(self, after_step: AfterStep | None, rows: slice, options: SamplingOptions) -> AfterStep:
        """`after_step` for the batch of `rows`, which counts the steps of all batches and leaves out padding."""

        def report(step: int, x: Tensor) -> None:
            if after_step is not None:
                after_step(rows.start // self.batch * options.steps + step, x[: rows.stop - rows.start])

        return report

    @torch.inference_mode()
    def each_batch(
        self,
        labels: Sequence[int | None],
        options: SamplingOptions,
        run: Callable[[Velocity, slice], Tensor],
    ) -> Tensor:
        """What `run` makes of each batch, (n, C, H, W) in all."""
        found = [
            on_cpu(run(velocity, rows), rows.stop - rows.start) for rows, velocity in self.batches(labels, options)
        ]
        images = torch.cat(found)
        refuse_if(
            not images.isfinite().all(), "the network's images are not finite", "train it again, with a lower --lr"
        )
        return images

    def batches(self, labels: Sequence[int | None], options: SamplingOptions) -> Iterator[tuple[slice, Velocity]]:
        """The rows of each batch, and the velocity of a full one."""
        refuse_if(not len(labels), "no images are asked for", "ask for at least 1")
        refuse_if(
            not self.classes and options.guidance != 1,
            "guidance is towards a class, and this generator was trained without classes",
            "leave it out",
        )
        numbers = torch.tensor([self.label(label) for label in labels])
        for start in range(0, len(labels), self.batch):
            rows = slice(start, min(start + self.batch, len(labels)))
            full = torch.full((self.batch,), self.classes)
            full[: rows.stop - start] = numbers[rows]
            yield rows, guided(self.net, full.to(self.device), self.classes, options.guidance, options.interval)

    def fill(self, rows: Tensor) -> Tensor:
        """At most `batch` rows on the CPU as a full batch on `device`, with zeros."""
        full = torch.cat([rows, rows.new_zeros(self.batch - len(rows), *rows.shape[1:])])
        full = full.float().to(self.device, non_blocking=True)
        return full.contiguous(memory_format=torch.channels_last) if full.dim() == 4 else full

    def noises(self, kind: Draw, seed: int, indices: Sequence[int]) -> Callable[[], Tensor]:
        """A function that gives a full batch of standard normal numbers, others at each call."""
        draw = normals(kind, seed, indices, self.shape)
        return lambda: self.fill(draw())

    def label(self, label: int | None) -> int:
        """The network's label, that of the null class for None."""
        if label is None:
            return self.classes
        refuse_if(not self.classes, f"class {label}: this generator was trained without classes", "leave the class out")
        known = f"give 0 to {self.classes - 1}, or None for no class"
        refuse_if(not 0 <= label < self.classes, f"class {label}: this generator has {self.classes} classes", known)
        return int(label)

    def indices_for(self, labels: Sequence[int | None], indices: Sequence[int] | None) -> Sequence[int]:
        """`indices`, by default 0 to n - 1."""
        if indices is None:
            return range(len(labels))
        different = f"{len(labels)} labels for {len(indices)} numbers of images"
        refuse_if(len(labels) != len(indices), different, "give as many")
        return indices

    def require_images(self, images: Tensor, labels: Sequence[int | None]) -> None:
        """Raises SkipwayError for images of another shape than `shape`, or not as many as `labels`."""
        self.require_shape(images)
        refuse_if(len(images) != len(labels), f"{len(labels)} labels for {len(images)} images", "give as many")

    def require_shape(self, images: Tensor) -> None:
        """Raises SkipwayError for images (n, ...) of another shape than `shape`."""
        given, wanted = (" x ".join(map(str, shape)) for shape in (images.shape[1:], self.shape))
        refuse_if(given != wanted, f"images of {given}", f"this generator takes {wanted} (channels, height, width)")


def require_sigma(sigma: float) -> None:
    """Raises SkipwayError for a noise level that is not a positive number."""
    good = math.isfinite(sigma) and sigma > 0
    refuse_if(not good, f"a noise level of {sigma}", "give a positive number, of images in [-1, 1]")


def on_cpu(full: Tensor, count: int) -> Tensor:
    """The first `count` rows as float32."""
    return full[:count].float().cpu().contiguous()


def to_uint8(images: Tensor) -> Tensor:
    """Images in [-1, 1] as uint8, values outside it clipped."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
