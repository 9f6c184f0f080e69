"""Cached training runs: one folder for each combination of recipe, data and training code.

KEY/run/          the bundle, metrics.jsonl and checkpoints written by `training.loop.train`
KEY/log.txt       its console output
KEY/outcome.json  its outcome; written last, so that its presence means that the run is done
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from skipway import bundle, hardware
from skipway.bundle import write_atomically
from skipway.data import open_dataset
from skipway.data.dataset import Dataset, Split, require_learnable
from skipway.data.loader import decode_all
from skipway.data.preprocess import Preprocessing
from skipway.data.targets import ClassTargets
from skipway.errors import DataError, SkipwayError
from skipway.hardware import Hardware, Precision, available_cores
from skipway.models.base import Network
from skipway.study.engine.code_hash import code_of
from skipway.study.engine.error_rates import errors
from skipway.study.engine.scale import Scale
from skipway.study.networks.registry import register_study_networks
from skipway.trained import TrainedModel
from skipway.training.errors import NonFiniteError
from skipway.training.loop import train
from skipway.training.recipes import Recipe
from skipway.training.state_codec import NAME as STATE_FILE


@dataclass(frozen=True)
class StudyRun:
    """A training run. fingerprint: that of its data set; images, judged: as in `Scale`; dtype: of the matrix products
    in training."""

    recipe: Recipe
    data: str
    fingerprint: str
    images: int
    judged: int
    dtype: str

    @property
    def title(self) -> str:
        return f"{self.recipe.model}, {self.recipe.iterations:,} iterations, seed {self.recipe.seed}"

    @property
    def key(self) -> str:
        """Identifies the combination of recipe, data, precision and code.

        Fields of the recipe that are off (0, empty, false) are left out, so that new options do not invalidate runs.
        """
        enabled = {field: value for field, value in asdict(self.recipe).items() if value}
        parts = [enabled, self.fingerprint, self.judged, self.dtype, code_of(self.recipe.model)]
        digest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]
        return f"{self.recipe.model}-{self.recipe.seed}-{digest}"


@dataclass(frozen=True)
class Outcome:
    """The outcome of a run. Errors in per cent, in evaluation mode and float32; losses in nats.

    diverged: the message of training when the loss became non-finite, otherwise empty; the errors are then at chance.
    seconds: of training, see `undisturbed_seconds`.
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
    """Where runs are trained: `jobs` at a time, each in a process with `threads` threads (0: torch's default)."""

    device: str = "auto"
    precision: Precision = "auto"
    jobs: int = 1
    threads: int = 0

    def one(self) -> "Machine":
        """The machine as seen by one of the processes: with its share of the cores."""
        if self.jobs == 1:
            return self
        return Machine(self.device, self.precision, 1, self.threads or max(1, available_cores() // self.jobs))

    def dtype(self) -> str:
        """The data type of the matrix products in training."""
        return str(hardware.decide(self.device, self.precision).dtype)

    def decide(self) -> Hardware:
        if self.threads:
            torch.set_num_threads(self.threads)
        # without kernels that were compiled on one machine and not on another
        return hardware.decide(self.device, self.precision, fused_units="off")


def open_cut(data: str, images: int) -> Dataset:
    """The data set with at most `images` evenly spaced images in each split. Raises DataError if studies cannot use it:
    several labels an image, or no test images."""
    dataset = require_learnable(open_dataset(data))
    if not isinstance(dataset.train.targets, ClassTargets):
        raise DataError(f"{data} has several labels per image: studies need one class per image")
    if dataset.test is None or not len(dataset.test):
        raise DataError(f"{data} has no test images, but studies compare test errors: add a test split")
    return Dataset(data, dataset.classes, evenly(dataset.train, images), None, evenly(dataset.test, images))


def evenly(split: Split, most: int) -> Split:
    """At most `most` evenly spaced images of `split`; all of them for 0."""
    if not most or len(split) <= most:
        return split
    return split.take(np.linspace(0, len(split) - 1, most).astype(int))


def images_of(split: Split, most: int, preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """At most `most` images of `split`, preprocessed and normalised: float32 (n, C, H, W), and labels (n,)."""
    chosen = evenly(split, most)
    return preprocessing.normalised(decode_all(chosen, preprocessing)), torch.from_numpy(chosen.labels)


def runs_of(recipes: Sequence[Recipe], dataset: Dataset, scale: Scale, dtype: str) -> list[StudyRun]:
    """The runs of `recipes` on `dataset`, without duplicates."""
    fingerprint = dataset.fingerprint
    runs = (StudyRun(recipe, dataset.name, fingerprint, scale.images, scale.judged, dtype) for recipe in recipes)
    return list(dict.fromkeys(runs))


def outcome_of(folder: Path) -> Outcome | None:
    """The outcome of the run in `folder`; None if it is not done."""
    file = folder / "outcome.json"
    return Outcome(**json.loads(file.read_bytes())) if file.is_file() else None


def records_of(folder: Path) -> list[dict[str, float]]:
    """A finished run's metrics of each epoch; empty if it diverged in the first."""
    file = folder / "run" / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def load(folder: Path) -> tuple[Network, Preprocessing]:
    """A finished run's network, in evaluation mode on the CPU, and its preprocessing."""
    register_study_networks()
    trained = TrainedModel.load(folder / "run")
    return trained.net, trained.preprocessing


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock `folder` for this process: another process that needs the same run waits until it is done."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def train_run(run: StudyRun, folder: Path, machine: Machine) -> Outcome:
    """Train `run` in `folder` unless it is done, and return its outcome; an interrupted run is resumed."""
    register_study_networks()
    with locked(folder):
        outcome = outcome_of(folder)
        if outcome is None:
            outcome = train_and_evaluate(run, folder, machine.decide())
            write_atomically(folder / "outcome.json", (json.dumps(asdict(outcome), indent=1) + "\n").encode())
        return outcome


def train_and_evaluate(run: StudyRun, folder: Path, decided: Hardware) -> Outcome:
    """Train and evaluate `run`. Raises SkipwayError if the code has changed since `folder` was named."""
    if run.key != folder.name:
        raise SkipwayError(f"the code changed while the study ran ({run.title}): start the study again")
    dataset, run_dir = open_cut(run.data, run.images), folder / "run"
    resume = (run_dir / STATE_FILE).is_file()
    if not resume and run_dir.exists():
        shutil.rmtree(run_dir)  # it was stopped before its first step
    chance_error = 100 * (1 - 1 / len(dataset.classes))
    hardware_summary = decided.summary()
    with (folder / "log.txt").open("a") as log:
        try:
            if not (run_dir / bundle.SUMS).is_file():
                train(dataset, run.recipe, run_dir, decided, Console(file=log, width=160), resume)
        except NonFiniteError as fault:
            chance_loss = float(np.log(len(dataset.classes)))
            return Outcome(chance_error, chance_error, chance_loss, chance_loss, fault.found, 0.0, hardware_summary)
    net, preprocessing = load(folder)
    net = net.to(decided.device)
    assert dataset.test is not None
    train_error, train_loss = errors(net, preprocessing, evenly(dataset.train, run.judged), dataset.classes)
    test_error, test_loss = errors(net, preprocessing, evenly(dataset.test, run.judged), dataset.classes)
    seconds = undisturbed_seconds(records_of(folder))
    return Outcome(train_error, test_error, train_loss, test_loss, "", seconds, hardware_summary)


def undisturbed_seconds(records: Sequence[Mapping[str, float]]) -> float:
    """The seconds of a training run with every epoch at the median epoch's rate, so that minutes in which the machine
    was busy elsewhere do not count."""
    ends = np.array([[0.0, 0.0], *([record["step"], record["seconds"]] for record in records)])
    steps, seconds = np.diff(ends, axis=0).T
    return float(np.median(seconds / steps) * ends[-1, 0])


def describe(run: StudyRun, outcome: Outcome) -> str:
    """The outcome of a run as one line of text."""
    if outcome.diverged:
        return f"{run.title}: diverged ({outcome.diverged})"
    text = f"training error {outcome.train_error:.2f} %, test error {outcome.test_error:.2f} %"
    return f"{run.title}: {text}, {outcome.seconds / 60:.1f} min"
