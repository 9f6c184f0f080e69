"""The inputs of a study's analysis: finished training runs, images, and a cache of measurements."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from skipway import models
from skipway.bundle import write_atomically
from skipway.data.dataset import Dataset
from skipway.data.decode import channels_in
from skipway.data.loader import decode_all, derive_seed, natural_size
from skipway.data.preprocess import Preprocessing, for_pixels
from skipway.hardware import Hardware
from skipway.models.base import Network
from skipway.study.engine.code_hash import code_of_measurement
from skipway.study.engine.pretrained import PretrainedNetwork, open_pretrained
from skipway.study.engine.runs import Outcome, StudyRun, evenly, images_of, load, records_of
from skipway.study.engine.scale import Scale
from skipway.study.networks.registry import register_study_networks
from skipway.training.recipes import Recipe
from skipway.training.setup import side_for

Plain = TypeVar("Plain")
STATISTICS_IMAGES = 2048  # images, evenly spaced over train, from which mean and standard deviation are computed


@dataclass(frozen=True)
class TrainedNetwork:
    """A finished training run. Its network is loaded at each call, so an analysis may modify it."""

    run: StudyRun
    folder: Path
    outcome: Outcome

    def as_dict(self) -> dict[str, Any]:
        """Key, recipe and outcome, as stored in a result."""
        return {"key": self.run.key, "recipe": asdict(self.run.recipe), **asdict(self.outcome)}

    def net(self) -> Network:
        """The trained network, in evaluation mode on the CPU. Raises BundleError if the run diverged."""
        return load(self.folder)[0]

    def preprocessing(self) -> Preprocessing:
        return load(self.folder)[1]

    def epoch_records(self) -> list[dict[str, float]]:
        """One record for each epoch: epoch, step, train_loss, train_top1 (of the batches as trained on), ..."""
        return records_of(self.folder)


@dataclass(frozen=True)
class ExperimentContext:
    """`dataset`: reduced to the scale; `trained`: the planned training runs of every seed; `weights`: names of
    published weights, comma-separated, or empty; `cache_dir`: the folder that `cached` writes to."""

    scale: Scale
    seeds: tuple[int, ...]
    dataset: Dataset
    trained: tuple[TrainedNetwork, ...]
    hardware: Hardware
    weights: str
    cache_dir: Path

    def trainings(self, recipe: Recipe) -> list[TrainedNetwork]:
        """The training runs of `recipe`, ordered by seed."""
        found = [t for t in self.trained if replace(t.run.recipe, seed=recipe.seed) == recipe]
        return sorted(found, key=lambda t: t.run.recipe.seed)

    def converged(self, recipe: Recipe) -> list[TrainedNetwork]:
        """The training runs of `recipe` that did not diverge, ordered by seed."""
        return [trained for trained in self.trainings(recipe) if not trained.outcome.diverged]

    def untrained(self, model: str, seed: int) -> Network:
        """The network `model` as initialised for a training run with this seed and data set. The global random state
        is not changed."""
        register_study_networks()
        with torch.random.fork_rng([]):
            torch.manual_seed(derive_seed(seed))
            stem = models.stem_for(self.preprocessing.size) if "stem" in models.options_of(model) else None
            return models.build(model, len(self.dataset.classes), self.preprocessing.channels, stem)

    def pretrained(self) -> list[PretrainedNetwork]:
        """The pretrained networks named in `weights`."""
        return [open_pretrained(text, self.dataset) for text in self.weights.split(",") if text]

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the images."""
        return self.dataset.fingerprint

    @cached_property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing for untrained networks: uncropped images, normalised by the training images' mean and standard
        deviation."""
        first = self.dataset.train.items[0]
        channels = channels_in(first, self.dataset.train.names[0])
        size = side_for(natural_size(self.dataset.train, channels))
        even = (0.5,) * channels
        record = Preprocessing(channels, size, size, even, even)
        own = for_pixels(decode_all(evenly(self.dataset.train, STATISTICS_IMAGES), record))
        return replace(record, mean=own.mean, std=own.std)

    def images(self, split: str, most: int, preprocessing: Preprocessing | None = None) -> tuple[Tensor, Tensor]:
        """At most `most` evenly spaced images of a split, without augmentation: normalised float32 (n, C, H, W), and
        labels (n,). `preprocessing`: that of a trained network; None: that for untrained ones.
        """
        return images_of(self.dataset.split(split), most, preprocessing or self.preprocessing)

    def cached(self, part: str, study_file: str, of: Sequence[str], make: Callable[[], Plain]) -> Plain:
        """The result of `make`, a plain value, computed once for this scale, data set, device, precision and code.

        For parts of an analysis that take minutes: an interrupted study continues after the last cached part.
        `study_file`: the `__file__` of the module that measures; `of`: identifiers of what is measured: keys of
        training runs, `code_of` untrained networks, names of published weights.
        """
        arithmetic = (self.hardware.device.type, str(self.hardware.dtype))
        what = [part, asdict(self.scale), self.fingerprint, arithmetic, *of]
        marked = json.dumps([*what, code_of_measurement(study_file)])
        file = self.cache_dir / f"{hashlib.sha256(marked.encode()).hexdigest()[:24]}.json"
        if not file.is_file():
            made: Any = make()
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, json.dumps(made).encode())
        return json.loads(file.read_bytes())
