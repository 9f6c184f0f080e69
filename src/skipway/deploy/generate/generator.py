"""Generate images from a bundle."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from skipway.data.preprocess import FittedImage, Preprocessing
from skipway.deploy.engines.base import Engine, Notify, ignore_message
from skipway.deploy.engines.selection import REFERENCE, open_engine
from skipway.deploy.generate.request import GeneratedImage, GenerationRequest, settings_of
from skipway.deploy.predict.inputs import Picture, named, pictures_of
from skipway.errors import DataError, refuse_if
from skipway.hardware import Hardware, decide
from skipway.tasks.generate.flow import slerp
from skipway.tasks.generate.sampler import Sampler, SamplingOptions, to_uint8
from skipway.trained import TrainedModel

if TYPE_CHECKING:
    from skipway.deploy.sample_images import Samples

AfterStep = Callable[[int, int], None]  # network evaluations done, and how many there are; may raise to stop
Solve = Callable[[range, Callable[[int, Tensor], None]], Tensor]  # places of a batch, after each step -> images
SAMPLE = 16  # inputs that engines are compared on
LEVELS = 127.5  # of 8-bit images, in a unit of images in [-1, 1]
REPEATS = 5  # of each step where parts of images are filled in


@dataclass(frozen=True, eq=False)
class ImagePath:
    """How an image emerged from noise: at each of `times`, from 1 to 0, the noisy image and what the network took it
    for, uint8 (frames, H, W, C)."""

    image: GeneratedImage
    times: tuple[float, ...]
    noisy: np.ndarray
    denoised: np.ndarray


class Generator:
    """A trained generator ready to draw images.

    hardware: this machine's best when None. engine: "eager" is the network as it was trained, whose images are the same
    digit for digit on one machine; "auto" measures the engines here once for each network and takes the fastest that
    agrees with eager; any other name of ENGINES is taken as it is. say: what "auto" has to tell.

    Classes are those of the request, in turn. Images that are given are paths, encoded bytes, arrays and so on, as for
    `Predictor`, and are brought to the size of the generator's images as in training.

    Raises BundleError for a folder that is no bundle, SkipwayError for a network that generates no images and for an
    engine that is unknown or missing here. The methods raise SkipwayError when they are called, and not only when the
    first image is taken.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        hardware: Hardware | None = None,
        engine: str = REFERENCE,
        say: Notify = ignore_message,
    ) -> None:
        self.hardware = hardware or decide()
        trained = TrainedModel.load(folder, self.hardware)
        self.folder = trained.folder
        self.task, self.card, self.preprocessing = trained.task, trained.card, trained.preprocessing
        self.sampler: Sampler = self.task.sampler(trained.net, self.preprocessing, self.hardware.device)
        if engine != REFERENCE:

            def samples() -> "Samples":
                from skipway.deploy.sample_images import at_hand  # data sets, which generating does not need

                return at_hand(self.card, (), None, SAMPLE)

            opened = open_engine(engine, trained, self.hardware, "throughput", samples, say)
            self.sampler = on_engine(self.sampler, opened, len(self.task.input_names))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes; empty for a generator without classes."""
        return tuple(self.task.classes)

    # from noise

    def generate(self, request: GenerationRequest, after_step: AfterStep | None = None) -> Iterator[GeneratedImage]:
        """The images of `request` in order, batch by batch as they get ready."""
        names = request.classes_in_turn(self.classes)
        options = self.options_for(request, names)
        labels = [self.label_of(names[index % len(names)]) for index in request.indices]

        def solve(places: range, watch: Callable[[int, Tensor], None]) -> Tensor:
            indices = request.indices[places.start : places.stop]
            return self.sampler.sample(labels[places.start : places.stop], request.seed, options, indices, watch)

        settings = settings_of(self.card.weights_sha256, request.seed, options)
        return self.images(self.solved(request.n, solve, options, after_step), names, request.first, settings)

    def trajectory(
        self, request: GenerationRequest, frames: int = 24, after_step: AfterStep | None = None
    ) -> Iterator[ImagePath]:
        """How each image of `request` emerges from noise, in at most `frames` frames, at the ends of steps."""
        refuse_if(frames < 2, f"a path of {frames} frames", "ask for at least 2, noise and image")
        names = request.classes_in_turn(self.classes)
        return self.paths(request, names, frames, after_step)

    def paths(
        self, request: GenerationRequest, names: Sequence[str | None], frames: int, after_step: AfterStep | None
    ) -> Iterator[ImagePath]:
        options, batch = self.options_for(request, names), self.sampler.batch
        settings = settings_of(self.card.weights_sha256, request.seed, options)
        for start in range(0, request.n, batch):
            indices = request.indices[start : start + batch]
            labels = [self.label_of(names[index % len(names)]) for index in indices]
            found = self.sampler.trajectory(labels, request.seed, options, frames, indices)
            noisy = np.stack([pixels_of(frame.images) for frame in found], 1)
            denoised = np.stack([pixels_of(frame.denoised) for frame in found], 1)
            if after_step is not None:
                done, of = start // batch + 1, -(-request.n // batch)
                after_step(done * options.evaluations, of * options.evaluations)
            for place, index in enumerate(indices):
                image = GeneratedImage(index, names[index % len(names)], noisy[place, -1], settings)
                yield ImagePath(image, tuple(frame.time for frame in found), noisy[place], denoised[place])

    def interpolate(
        self, request: GenerationRequest, between: int, after_step: AfterStep | None = None
    ) -> Iterator[GeneratedImage]:
        """The images of `request` with `between` images between each two, from the noises on the great circle between
        theirs, all of one class, no class where none is given; numbered from 0."""
        noises = self.sampler.noise(request.seed, request.indices)
        return self.along(noises, [str(index) for index in request.indices], request, between, request.seed, after_step)

    # from images

    def interpolate_images(
        self, images: Iterable[Picture], request: GenerationRequest, between: int, after_step: AfterStep | None = None
    ) -> Iterator[GeneratedImage]:
        """As `interpolate`, between the noises that the flow takes `images` to. With 0 `between`, the images as they
        come back from there. Of `request`, only class and options apply."""
        names, pixels = self.opened(images)
        label = request.one_class(self.classes)
        options = self.options_for(request, [label])
        noises = self.sampler.invert(self.normalised(pixels), [self.label_of(label)] * len(names), options)
        return self.along(noises, names, request, between, None, after_step)

    def inpaint(
        self, image: Picture, mask: Picture, request: GenerationRequest, after_step: AfterStep | None = None
    ) -> Iterator[GeneratedImage]:
        """`image` where `mask`, of its size, is black, filled in where it is white, in each image of `request`; of no
        class where none is given.

        Each step is repeated with new noise, so that what is filled in fits what is known (Lugmayr 2022,
        arXiv:2201.09865). Raises DataError for an image or a mask that cannot be used.
        """
        [name], [fitted] = self.opened([image])
        known = self.known_pixels(mask, fitted.size)
        names = request.classes_in_turn(self.classes) if request.classes else (None,)
        options, pixels = self.options_for(request, names), self.normalised([fitted])

        def solve(places: range, watch: Callable[[int, Tensor], None]) -> Tensor:
            indices, count = request.indices[places.start : places.stop], len(places)
            labels = [self.label_of(names[index % len(names)]) for index in indices]
            given, fixed = pixels.expand(count, -1, -1, -1), known.expand(count, -1, -1, -1)
            return self.sampler.inpaint(given, fixed, labels, request.seed, options, REPEATS, indices, watch)

        settings = {**settings_of(self.card.weights_sha256, request.seed, options), "from": Path(name).name}
        found = self.solved(request.n, solve, options, after_step, REPEATS)
        return self.images(found, names, request.first, settings)

    def denoise(self, images: Iterable[Picture], level: float, request: GenerationRequest) -> list[GeneratedImage]:
        """Each image without its noise, normal noise of standard deviation `level` in 8-bit levels: the mean of the
        images that it may be. Of `request`, only the class and guidance apply."""
        refuse_if(
            not 0 < level <= 255, f"noise of {level:g} levels", "give its standard deviation, above 0 and up to 255"
        )
        names, pixels = self.opened(images)
        label = request.one_class(self.classes)
        found = self.sampler.denoise(self.normalised(pixels), level / LEVELS, [self.label_of(label)] * len(names))
        settings = settings_of(self.card.weights_sha256, None, None) | {"noise level": f"{level:g}"}
        return [
            GeneratedImage(place, label, image, {**settings, "from": Path(name).name})
            for place, (image, name) in enumerate(zip(pixels_of(found), names, strict=True))
        ]

    # parts

    def options_for(self, request: GenerationRequest, names: Sequence[str | None]) -> SamplingOptions:
        """Without guidance where there is no class to guide to, which halves the evaluations. Raises SkipwayError for
        guidance of a generator without classes."""
        options = request.options
        unguided = options.guidance == 1 or self.classes
        refuse_if(not unguided, "guidance: this generator was trained without classes", "leave the guidance out")
        return options if any(name is not None for name in names) else replace(options, guidance=1.0)

    def label_of(self, name: str | None) -> int | None:
        """The class's place among the classes; None for no class."""
        return None if name is None else self.classes.index(name)

    def opened(self, images: Iterable[Picture]) -> tuple[list[str], list[FittedImage]]:
        """Names and fitted images. Raises DataError for one that cannot be read."""
        names, found = [], []
        for name, item in named(pictures_of(images), self.preprocessing):
            if isinstance(item, DataError):
                raise item
            names.append(name)
            found.append(self.preprocessing.opened(item, name))
        return names, found

    def normalised(self, images: Sequence[FittedImage]) -> Tensor:
        """float32 (n, C, H, W) in [-1, 1]."""
        return self.preprocessing.normalised(torch.stack([fitted.image for fitted in images]))

    def known_pixels(self, mask: Picture, size: tuple[int, int]) -> Tensor:
        """bool (1, 1, H, W), true where `mask` is black. Raises DataError where it is not of `size` (height, width) or
        has nothing to fill in."""
        grey: Preprocessing = replace(self.preprocessing, channels=1, mean=(0.5,), std=(0.5,))
        [(name, item)] = named(pictures_of([mask]), grey)
        if isinstance(item, DataError):
            raise item
        fitted = grey.opened(item, name)
        if fitted.size != size:
            (height, width), (rows, columns) = fitted.size, size
            raise DataError(f"{name} is {width} x {height} pixels, its image {columns} x {rows}: make them equal")
        known = fitted.image < 128
        if bool(known.all()):
            raise DataError(f"{name} has no white pixel: make white what is to be filled in")
        return known[None]

    def along(
        self,
        noises: Tensor,
        ends: Sequence[str],
        request: GenerationRequest,
        between: int,
        seed: int | None,
        after_step: AfterStep | None,
    ) -> Iterator[GeneratedImage]:
        """The images of noises (n, C, H, W), called `ends`, and of `between` more between each two."""
        refuse_if(between < 0, f"{between} images between two", "give 0 or more")
        label = request.one_class(self.classes)
        options = self.options_for(request, [label])
        steps = [place / (between + 1) for place in range(between + 1)]
        whole = torch.cat([*(slerp(one, other, steps) for one, other in pairwise(noises)), noises[-1:]])
        labels = [self.label_of(label)] * len(whole)

        def solve(places: range, watch: Callable[[int, Tensor], None]) -> Tensor:
            chosen = slice(places.start, places.stop)
            return self.sampler.decode(whole[chosen], labels[chosen], options, watch)

        settings = settings_of(self.card.weights_sha256, seed, options)
        settings |= {"between": ", ".join(Path(end).name for end in ends)}
        return self.images(self.solved(len(whole), solve, options, after_step), [label], 0, settings)

    def solved(
        self, count: int, solve: Solve, options: SamplingOptions, after_step: AfterStep | None, repeats: int = 1
    ) -> Iterator[Tensor]:
        """What `solve` gives for each batch of `count` images; `repeats`: of each step."""
        batch, each = self.sampler.batch, options.evaluations * repeats
        batches = [range(start, min(start + batch, count)) for start in range(0, count, batch)]
        for number, places in enumerate(batches):

            def watch(step: int, images: Tensor, number: int = number) -> None:
                if after_step is not None:
                    after_step(round((number + (step + 1) / options.steps) * each), len(batches) * each)

            yield solve(places, watch)

    def images(
        self, batches: Iterable[Tensor], names: Sequence[str | None], first: int, settings: dict[str, str]
    ) -> Iterator[GeneratedImage]:
        """Images numbered from `first`, whose classes are `names` in turn."""
        index = first
        for batch in batches:
            for pixels in pixels_of(batch):
                yield GeneratedImage(index, names[index % len(names)], pixels, settings)
                index += 1


def pixels_of(images: Tensor) -> np.ndarray:
    """(n, C, H, W) in [-1, 1] as uint8 (n, H, W, C)."""
    return to_uint8(images).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def on_engine(sampler: Sampler, engine: Engine, inputs: int) -> Sampler:
    """The sampler with the network run by `engine`, which takes the first `inputs` of images, times and labels."""

    def velocity(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        given = [tensor.cpu() for tensor in (x, t, labels)[:inputs]]
        return engine.outputs(*given)[0].to(x.device)

    return replace(sampler, net=velocity, batch=max(sampler.batch, engine.batch))
