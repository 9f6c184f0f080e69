"""What an analysis works with: finished trainings, the images, and a memory for what takes long to measure."""

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
from skipway.data.decode import channels_in
from skipway.data.loader import derive, natural_size, open_all
from skipway.data.preprocess import Preprocessing, for_pixels
from skipway.data.source import Source, fingerprint
from skipway.hardware import Hardware
from skipway.models.contract import Network
from skipway.study.code import code_of_study
from skipway.study.contract import Scale
from skipway.study.foreign import Foreign, open_foreign
from skipway.study.networks import with_study_networks
from skipway.study.runs import Outcome, Run, evenly, images_of, load, records_of
from skipway.training.prepare import side_for
from skipway.training.recipes import Recipe

Plain = TypeVar("Plain")
MEASURED = 2048  # images, evenly over train, that tell mean and deviation


@dataclass(frozen=True)
class Trained:
    """A finished training. Its network is read anew each time, so that an analysis may change it."""

    run: Run
    folder: Path
    outcome: Outcome

    def record(self) -> dict[str, Any]:
        """For a result: key, recipe and outcome."""
        return {"key": self.run.key, "recipe": asdict(self.run.recipe), **asdict(self.outcome)}

    def net(self) -> Network:
        """The trained network, in evaluation mode on the CPU. Raises BundleError for a diverged run, which has none."""
        return load(self.folder)[0]

    def preprocessing(self) -> Preprocessing:
        return load(self.folder)[1]

    def records(self) -> list[dict[str, float]]:
        """An epoch each: epoch, step, train_loss, train_top1 (of the batches as they were trained on), ..."""
        return records_of(self.folder)


@dataclass(frozen=True)
class Bench:
    """`source` is cut to the scale; `trained` are the plan's trainings of every seed; `weights` names others' weights,
    commas between them, empty where none are given; `memory` is the folder of what `keep` keeps."""

    scale: Scale
    seeds: tuple[int, ...]
    source: Source
    trained: tuple[Trained, ...]
    hardware: Hardware
    weights: str
    memory: Path

    def of(self, recipe: Recipe) -> list[Trained]:
        """The trainings of `recipe`, a seed each, in the order of the seeds."""
        found = [t for t in self.trained if replace(t.run.recipe, seed=recipe.seed) == recipe]
        return sorted(found, key=lambda t: t.run.recipe.seed)

    def finished(self, recipe: Recipe) -> list[Trained]:
        """Those of them that left a network: all that did not diverge."""
        return [trained for trained in self.of(recipe) if not trained.outcome.diverged]

    def fresh(self, model: str, seed: int) -> Network:
        """The network called `model` as a training with this seed begins with it, for these images; the global random
        state stays as it is."""
        with torch.random.fork_rng([]), with_study_networks():
            torch.manual_seed(derive(seed))
            stem = models.stem_for(self.feeding.size) if "stem" in models.options_of(model) else None
            return models.build(model, len(self.source.classes), self.feeding.channels, stem)

    def others(self) -> list[Foreign]:
        """The networks of `weights`."""
        return [open_foreign(text, self.source) for text in self.weights.split(",") if text]

    @cached_property
    def mark(self) -> str:
        """The fingerprint of the images."""
        return fingerprint(self.source)

    @cached_property
    def feeding(self) -> Preprocessing:
        """How untrained networks are fed: images whole, normalised by the mean and deviation of the training images."""
        first = self.source.train.items[0]
        channels = channels_in(first, self.source.train.names[0])
        size = side_for(natural_size(self.source.train, channels))
        even = (0.5,) * channels
        record = Preprocessing(channels, size, size, even, even)
        own = for_pixels(open_all(evenly(self.source.train, MEASURED), record))
        return replace(record, mean=own.mean, std=own.std)

    def images(self, split: str, most: int, feeding: Preprocessing | None = None) -> tuple[Tensor, Tensor]:
        """At most `most` images of a split, evenly chosen, without augmentation: normalised float32 (n, C, H, W), and
        labels (n,). `feeding` is a trained network's preprocessing; None takes this bench's own.
        """
        return images_of(self.source.split(split), most, feeding or self.feeding)

    def keep(self, part: str, study_file: str, of: Sequence[str], make: Callable[[], Plain]) -> Plain:
        """What `make` gives, a plain value, computed once for this scale, these images, this arithmetic and the code.

        For parts of an analysis that take minutes: a study that was stopped goes on behind the last of them.
        `study_file` is the `__file__` of what measures; `of` are the marks of what is measured: keys of trainings,
        `code_of` untrained networks, names of others' weights.
        """
        arithmetic = (self.hardware.device.type, str(self.hardware.dtype))
        what = [part, asdict(self.scale), self.mark, arithmetic, *of]
        marked = json.dumps([*what, code_of_study(Path(study_file).stem)])
        file = self.memory / f"{hashlib.sha256(marked.encode()).hexdigest()[:24]}.json"
        if not file.is_file():
            made: Any = make()
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, json.dumps(made).encode())
        return json.loads(file.read_bytes())
