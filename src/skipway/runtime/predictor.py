"""Predictions by an export: decoding in threads, the network on one image after the other."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np

from skipway.deploy.predict.video import is_video
from skipway.errors import DataError, SkipwayError, refuse_if
from skipway.runtime.network import ExportedNetwork
from skipway.runtime.preprocess import FittedPixels
from skipway.tasks.presenter import Prediction, Presenter

Picture = str | os.PathLike[str] | bytes | np.ndarray
AHEAD = 4  # images for each thread that are decoded before they are asked for


class ExportPredictor:
    """An exported network ready to label images.

    folder: what `skipway export` wrote, in ONNX or OpenVINO; threads: to compute with and to decode with, 0: one for
    each core. Raises SkipwayError as `ExportedNetwork.load`.
    """

    def __init__(self, folder: str | os.PathLike[str], threads: int = 0) -> None:
        self.network = ExportedNetwork.load(Path(folder), threads)
        cores = threads or available_cores()
        self.decoders, self.ahead = ThreadPoolExecutor(cores, "decode"), AHEAD * cores

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the network's outputs."""
        return tuple(self.network.card.classes)

    @property
    def presenter(self) -> Presenter:
        """How its predictions are shown."""
        return self.network.reader.presenter

    def predict(
        self, images: Picture | Iterable[Picture], top: int = 5, threshold: float | None = None
    ) -> Prediction | Iterator[Prediction]:
        """The `top` likeliest classes of an image, or of each of several, in order; of a network that finds objects,
        those with a score of at least `threshold`, None for the card's; of one of label maps, each pixel's class.

        An image is a path, its encoded bytes, or a uint8 array (H, W, C) in the network's channels: one gives a
        Prediction, an iterable of them an iterator. One that cannot be read gives a Prediction with `error`. An image's
        figures do not depend on which others are asked for.
        """
        if isinstance(images, str | os.PathLike | bytes | np.ndarray):
            [answer] = self.answers([images], top, threshold)
            return answer
        return self.answers(images, top, threshold)

    def answers(self, images: Iterable[Picture], top: int, threshold: float | None) -> Iterator[Prediction]:
        """A Prediction for each image; a few are decoded ahead. Raises SkipwayError for a `top` or `threshold` that is
        none."""
        refuse_if(top < 1, f"top is {top}", "give at least 1")
        refuse_if(
            threshold is not None and not 0 <= threshold <= 1, f"threshold is {threshold}", "give one from 0 to 1"
        )
        return self.answered(images, top, threshold)

    def answered(self, images: Iterable[Picture], top: int, threshold: float | None) -> Iterator[Prediction]:
        waiting, reader = enumerate(images), self.network.reader
        decoding = deque(map(self.begun, islice(waiting, self.ahead)))
        try:
            while decoding:
                name, fitted = decoding.popleft()
                decoding.extend(map(self.begun, islice(waiting, 1)))
                try:
                    image, size = fitted.result()
                except DataError as fault:
                    yield reader.unread(name, str(fault))
                    continue
                [outputs] = self.network.outputs(image[None])
                yield reader.predict(name, outputs, size, top, threshold)
        finally:  # whoever asked may have stopped asking
            for _, fitted in decoding:
                fitted.cancel()

    def begun(self, numbered: tuple[int, Picture]) -> tuple[str, Future[FittedPixels]]:
        """An image's name, its path or "image 0", and its decoding, which has begun. Raises SkipwayError for what is no
        image."""
        number, picture = numbered
        if isinstance(picture, str | os.PathLike):
            return os.fspath(picture), self.decoders.submit(self.opened, Path(picture), os.fspath(picture))
        name = f"image {number}"
        if not isinstance(picture, bytes | np.ndarray):
            raise SkipwayError(f"{name} is of type {type(picture).__name__}: give paths, bytes or uint8 arrays")
        return name, self.decoders.submit(self.opened, picture, name)

    def opened(self, item: Path | bytes | np.ndarray, name: str) -> FittedPixels:
        if isinstance(item, Path) and is_video(item):
            raise DataError(f"{name} is a video, which exports do not read: use `skipway predict` with the run")
        return self.network.preprocessing.opened(item, name)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
