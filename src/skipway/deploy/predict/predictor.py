"""Predict from a bundle and images, by the path that evaluation takes."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import torch

from skipway.data.decode import MODES
from skipway.deploy.engines.base import Goal, Notify, ignore_message
from skipway.deploy.engines.selection import REFERENCE, open_engine
from skipway.deploy.predict.embedder import Embedder
from skipway.deploy.predict.inputs import Named, Picture, is_one, named, pictures_of
from skipway.deploy.predict.pipeline import Scored, decoders
from skipway.deploy.predict.scoring import engine_samples, scored_images
from skipway.deploy.predict.tiles import stitch
from skipway.deploy.predict.views import pooled, views_named
from skipway.errors import DataError, SkipwayError, refuse_if
from skipway.hardware import Hardware, decide
from skipway.tasks.base import AS_BUNDLED, Prediction, Task
from skipway.tasks.classify.deciding import deciding
from skipway.trained import TrainedModel


class Predictor:
    """A trained network ready to label images.

    hardware: this machine's best when None. engine: "eager" gives evaluation's figures digit for digit; "auto" measures
    the engines here once for each network and takes the fastest that agrees with eager; any other name of ENGINES is
    taken as it is. goal: many images a second ("throughput"), or one image soon ("latency"). sample: images that "auto"
    may compare engines on; without any, the training's own where they are at hand. say: what "auto" has to tell.
    unsure: mark the answers of a classifier that have to be left out for an error of at most this share among the
    others, by thresholds chosen on val, and images unlike those of the training; None: mark none. protocol: "flip" and
    "ten-crop" average several views of an image, as in evaluation, without the temperature.

    Raises BundleError for a folder that is no bundle, SkipwayError for an engine that is unknown or missing here.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        hardware: Hardware | None = None,
        engine: str = REFERENCE,
        goal: Goal = "throughput",
        sample: Sequence[str | Path] = (),
        say: Notify = ignore_message,
        unsure: float | None = None,
        protocol: str = AS_BUNDLED,
    ) -> None:
        if goal not in ("throughput", "latency"):
            raise SkipwayError(f"goal '{goal}' is not one of throughput, latency")
        self.hardware = hardware or decide()
        trained = TrainedModel.load(folder, self.hardware)
        self.folder = trained.folder
        refuse_if(
            trained.task.input_names != ("images",),
            f"{folder} is of the task {trained.task.name}, which predicts nothing from an image",
            f"use `skipway {trained.task.name}`",
        )
        self.net, self.task, self.card = trained.net, trained.task, trained.card
        self.preprocessing = trained.preprocessing
        self.task.require_predictions()
        views = views_named(protocol, self.task, self.preprocessing)
        refuse_if(views and unsure is not None, "--unsure has thresholds for single views", "leave out --protocol")
        if unsure is not None:
            self.task = deciding(self.task, unsure, self.card.metrics)
        self.decoders = decoders(self.hardware.workers)

        self.trained, self.engine_settings = trained, (engine, goal, sample, say)
        samples = engine_samples(self.card, sample, self.preprocessing)
        self.engine = open_engine(engine, trained, self.hardware, goal, samples, say)
        if views is not None:
            self.engine = pooled(self.engine, views, self.task)
            self.preprocessing = views.opened
            self.card = replace(self.card, calibration=None)  # temperature and thresholds are of single views
            self.task = self.task.chosen_on_val({})

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of `predict_proba`."""
        return tuple(self.task.classes)

    @overload  # a type checker sees in text both an image's path and an iterable of text
    def predict(  # type: ignore[overload-overlap]
        self, images: Picture, top: int = 5, threshold: float | None = None, tiles: bool = False, every: int = 1
    ) -> Prediction: ...

    @overload
    def predict(
        self,
        images: Iterable[Picture],
        top: int = 5,
        threshold: float | None = None,
        tiles: bool = False,
        every: int = 1,
    ) -> Iterator[Prediction]: ...

    def predict(
        self,
        images: Picture | Iterable[Picture],
        top: int = 5,
        threshold: float | None = None,
        tiles: bool = False,
        every: int = 1,
    ) -> Prediction | Iterator[Prediction]:
        """The `top` likeliest classes of an image, or of each of several, in order; for networks that find objects,
        those with a score of at least `threshold`, None for the card's; for networks of label maps, the class of each
        pixel.

        tiles: objects and label maps at the images' own resolution, by overlapping tiles of the network's input, in
        memory that does not grow with the number of tiles; otherwise a large image is reduced to the input.

        The path of a video stands for its frames, called "clip.mp4#0" and so on and decoded one by one, by the extra
        `video`; `every` 10 takes each tenth. That of a TIFF file of several pages stands for its pages, "scan.tif#0"
        and so on, that of a zip archive for the images in it, "photos.zip/cats/1.jpg", which are not unpacked.

        An image is a path, its encoded bytes, a Pillow image, a uint8 or uint16 array (H, W, C) or (H, W), or a uint8
        tensor (C, H, W): one gives a Prediction. A list, a generator or any other iterable of images gives an iterator
        of Predictions; so does the path of a folder, a video or a pattern as "photos/*.jpg", for which type checkers
        want `Path("photos").glob("*.jpg")`.

        An image that cannot be read gives a Prediction with `error`; the others are answered all the same. Images are
        taken a few batches ahead of the answers, however many there are. Raises SkipwayError for what is no image.
        """
        if top < 1:
            raise SkipwayError(f"top must be at least 1, and is {top}")
        if threshold is not None and not 0 <= threshold <= 1:
            raise SkipwayError(f"threshold must be from 0 to 1, and is {threshold}")
        if every < 1:
            raise SkipwayError(f"every must be at least 1, and is {every}")
        pictures = named(pictures_of(images), self.preprocessing, every)
        task = self.task.with_threshold(threshold)
        answers = self.tiled(pictures, task) if tiles else self.answers(pictures, task, top)
        if not is_one(images, self.preprocessing.channels in MODES):
            return answers
        [answer] = answers
        return answer

    def tiled(self, pictures: Iterator[Named], task: Task) -> Iterator[Prediction]:
        """A Prediction for each picture, one at a time."""
        for name, item in pictures:
            try:
                if isinstance(item, DataError):
                    raise item
                image = self.preprocessing.decoded(item, name)
            except DataError as fault:
                yield task.unread(name, str(fault))
                continue
            stitcher = task.stitcher((image.shape[1], image.shape[2]))
            stitch(image, self.preprocessing, self.engine, stitcher)
            yield stitcher.finish(name)

    def answers(self, pictures: Iterator[Named], task: Task, top: int) -> Iterator[Prediction]:
        """A Prediction for each picture."""
        for name, found in self.scored(pictures):
            if isinstance(found, DataError):
                yield task.unread(name, str(found))
            else:
                yield task.predict(name, found.outputs, found.size, self.card.temperature, top)

    def predict_proba(self, images: Picture | Iterable[Picture]) -> np.ndarray:
        """The calibrated probability of every class, float32 (n, classes) in the order of `classes`.

        `images` are as for `predict`; a single one gives a row. Raises DataError, which names it, for an image that
        cannot be read, SkipwayError for what is no image.
        """
        rows = []
        for _, found in self.scored(named(pictures_of(images), self.preprocessing)):
            if isinstance(found, DataError):
                raise found
            rows.append(found.outputs[0])
        scores = torch.stack(rows) if rows else torch.empty(0, self.task.outputs)
        return self.task.class_probabilities(scores, self.card.temperature).numpy()

    def scored(self, pictures: Iterator[Named]) -> Iterator[tuple[str, Scored | DataError]]:
        """Each picture's name with its outputs, or with why it cannot be read."""
        return scored_images(pictures, self.preprocessing, self.engine, self.decoders)

    @cached_property
    def embedder(self) -> Embedder:
        """The same network with its features as the answer; built when first used, with an engine of its own."""
        return Embedder(self.trained, self.hardware, *self.engine_settings)

    def embed(self, images: Picture | Iterable[Picture]) -> np.ndarray:
        """The embeddings of images, float32 (n, D): the mean over positions of the last feature map of the classifier,
        or of the body of a detector or segmenter.

        `images` are as for `predict`; a single one gives a row. Raises DataError, which names it, for an image that
        cannot be read, SkipwayError for what is no image.
        """
        return self.embedder.embed(images)
