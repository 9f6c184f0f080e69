"""Trainings that are kept: each in a folder named for its recipe, its data and the code that trains, and never twice.

KEY/run/          the bundle, metrics.jsonl and checkpoints that `training.loop.train` leaves
KEY/log.txt       what it printed
KEY/outcome.json  what came of it; written last, so that its presence means that the run is done
"""

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from skipway import bundle, hardware, models
from skipway.bundle import write_atomically
from skipway.data import open_source
from skipway.data.loader import open_all
from skipway.data.preprocess import Preprocessing
from skipway.data.source import Source, Split, fingerprint, require_learnable
from skipway.errors import DataError, SkipwayError
from skipway.hardware import Hardware, Precision
from skipway.models.contract import Network
from skipway.study.code import code_of
from skipway.study.contract import Scale
from skipway.study.judging import errors
from skipway.study.networks import with_study_networks
from skipway.training.checkpoint import NAME as BEGUN
from skipway.training.faults import NotFinite
from skipway.training.loop import train
from skipway.training.recipes import Recipe


@dataclass(frozen=True)
class Run:
    """A training. `mark`: the fingerprint of the images that it sees; images, judged: as in `Scale`; dtype: of the
    products in it."""

    recipe: Recipe
    data: str
    mark: str
    images: int
    judged: int
    dtype: str

    @property
    def title(self) -> str:
        return f"{self.recipe.model}, {self.recipe.iterations:,} iterations, seed {self.recipe.seed}"

    @property
    def key(self) -> str:
        """The same for the same recipe, data, arithmetic and code.

        Fields of the recipe that are off (0, empty, false) are left out: it may learn options and keep its runs.
        """
        on = {field: value for field, value in asdict(self.recipe).items() if value}
        what = [on, self.mark, self.judged, self.dtype, code_of(self.recipe.model)]
        digest = hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
        return f"{self.recipe.model}-{self.recipe.seed}-{digest}"


@dataclass(frozen=True)
class Outcome:
    """What came of a run. Errors in per cent, in evaluation mode and float32; losses in nats.

    diverged: what training said when the loss stopped being a number; errors are then those of guessing.
    """

    train_error: float
    test_error: float
    train_loss: float
    test_loss: float
    diverged: str
    seconds: float
    hardware: dict[str, str]


@dataclass(frozen=True)
class Machine:
    """Where runs are trained: `jobs` at a time, each in a process with `threads` threads (0: torch's own number)."""

    device: str = "auto"
    precision: Precision = "auto"
    jobs: int = 1
    threads: int = 0

    def one(self) -> "Machine":
        """The machine of a single process: its share of the cores where there are several."""
        if self.jobs == 1:
            return self
        return Machine(self.device, self.precision, 1, self.threads or max(1, cores() // self.jobs))

    def dtype(self) -> str:
        """Of the products in a training."""
        return str(hardware.decide(self.device, self.precision).dtype)

    def decide(self) -> Hardware:
        if self.threads:
            torch.set_num_threads(self.threads)
        return hardware.decide(self.device, self.precision)


def open_cut(data: str, images: int) -> Source:
    """The data set with at most `images` in each split, evenly chosen. Raises DataError for what no study can use."""
    source = require_learnable(open_source(data))
    if source.multilabel:
        raise DataError(f"{data} has several labels an image: studies need one class an image")
    if source.test is None or not len(source.test):
        raise DataError(f"{data} has no test images: a study compares test errors; add a test split")
    return Source(data, source.classes, evenly(source.train, images), None, evenly(source.test, images))


def evenly(split: Split, most: int) -> Split:
    """At most `most` images of `split` from all over it; all of them for 0."""
    if not most or len(split) <= most:
        return split
    return split.take(np.linspace(0, len(split) - 1, most).astype(int))


def images_of(split: Split, most: int, feeding: Preprocessing) -> tuple[Tensor, Tensor]:
    """At most `most` images of `split`, as `feeding` has them: normalised float32 (n, C, H, W), and labels (n,)."""
    chosen = evenly(split, most)
    return feeding.normalised(open_all(chosen, feeding)), torch.from_numpy(chosen.labels)


def runs_of(recipes: Sequence[Recipe], source: Source, scale: Scale, dtype: str) -> list[Run]:
    """The runs of `recipes` on `source`, each once."""
    mark = fingerprint(source)
    found = (Run(recipe, source.name, mark, scale.images, scale.judged, dtype) for recipe in recipes)
    return list(dict.fromkeys(found))


def outcome_of(folder: Path) -> Outcome | None:
    """What came of the run in `folder`; None while it is not done."""
    file = folder / "outcome.json"
    return Outcome(**json.loads(file.read_bytes())) if file.is_file() else None


def records_of(folder: Path) -> list[dict[str, float]]:
    """A finished run's figures, an epoch each; empty where the loss stopped being a number in the first."""
    file = folder / "run" / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def load(folder: Path) -> tuple[Network, Preprocessing]:
    """A finished run's network, in evaluation mode on the CPU, and how it is fed."""
    with with_study_networks():
        net, card = bundle.load(folder / "run", models.build)
    return net, Preprocessing(**card.preprocessing)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """`folder` for this process alone: another that wants the same run waits until it is done."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def perform(run: Run, folder: Path, machine: Machine) -> Outcome:
    """What came of `run`, trained in `folder` unless it is done; one that was interrupted goes on."""
    with held(folder), with_study_networks():
        done = outcome_of(folder)
        if done is None:
            done = trained(run, folder, machine.decide())
            write_atomically(folder / "outcome.json", (json.dumps(asdict(done), indent=1) + "\n").encode())
        return done


def trained(run: Run, folder: Path, decided: Hardware) -> Outcome:
    """`run` trained and measured. Raises SkipwayError when the code is not the one that `folder` is named for."""
    if run.key != folder.name:
        raise SkipwayError(f"the code changed while the study ran ({run.title}): start it again")
    source, place = open_cut(run.data, run.images), folder / "run"
    resume = (place / BEGUN).is_file()
    if not resume and place.exists():
        shutil.rmtree(place)  # it was stopped before it began
    guessing = 100 * (1 - 1 / len(source.classes))
    said = decided.summary()
    with (folder / "log.txt").open("a") as log:
        try:
            if not (place / bundle.SUMS).is_file():
                train(source, run.recipe, place, decided, Console(file=log, width=160), resume)
        except NotFinite as fault:
            nowhere = float(np.log(len(source.classes)))
            return Outcome(guessing, guessing, nowhere, nowhere, fault.found, 0.0, said)
    net, preprocessing = load(folder)
    net = net.to(decided.device)
    assert source.test is not None
    train_error, train_loss = errors(net, preprocessing, evenly(source.train, run.judged), source.classes)
    test_error, test_loss = errors(net, preprocessing, evenly(source.test, run.judged), source.classes)
    seconds = bundle.read_card(place).seconds
    return Outcome(train_error, test_error, train_loss, test_loss, "", seconds, said)


def describe(run: Run, outcome: Outcome) -> str:
    """A line for people."""
    if outcome.diverged:
        return f"{run.title}: diverged ({outcome.diverged})"
    text = f"training error {outcome.train_error:.2f} %, test error {outcome.test_error:.2f} %"
    return f"{run.title}: {text}, {outcome.seconds / 60:.1f} min"


def cores() -> int:
    return os.cpu_count() or 1
