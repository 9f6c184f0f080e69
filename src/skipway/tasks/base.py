"""The task protocol, all that training, evaluation and deployment need from a task.

A task is a folder below `tasks` and an entry of `TASKS`; code outside this package is the same for every task. How
predictions and evaluations are shown is in the task's presenter and reporter, imported on access.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, Self

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn

from skipway import models
from skipway.data.dataset import Dataset, Split
from skipway.data.loader import Batch, Transform
from skipway.data.preprocess import Preprocessing
from skipway.data.targets import Labels, Targets
from skipway.errors import SkipwayError
from skipway.models.base import Network
from skipway.tasks.batch_random import BatchRandom
from skipway.tasks.generate.sampler import Sampler
from skipway.tasks.presenter import Prediction as Prediction  # part of the protocol too
from skipway.tasks.presenter import Presenter as Presenter

AS_BUNDLED = "center"  # the protocol of evaluation that temperatures are fitted with
ENSEMBLE = "ensemble"  # the recipe name in the card of an ensemble
AVERAGE = "average"  # likewise of a network whose weights are the mean of others'
CROSS_VALIDATION = "cross-validation"  # likewise of the networks of all folds; and the split of their images
Outputs = tuple[Tensor, ...]  # of a network, in the order of `Task.output_names`; the first dimension counts images
Explain = Callable[[Tensor, Tensor], Tensor]  # uint8 images (N, C, H, W), classes (N,) -> heat (N, H, W) in [0, 1]
Records = Sequence[dict[str, Any]]  # the lines of metrics.jsonl
Runner = Callable[..., Outputs]  # the tensors of `Task.input_names` -> outputs, float32 on the CPU


def as_outputs(found: Tensor | Sequence[Tensor]) -> Outputs:
    """The return value of a network as a tuple."""
    return (found,) if isinstance(found, Tensor) else tuple(found)


class LossResult(NamedTuple):
    """Named losses of a batch, their sum under "loss", and the network's outputs."""

    losses: dict[str, Tensor]
    outputs: Any


class WithPreprocessing(nn.Module):
    """A network that takes fitted images as they are: uint8 (N, C, *canvas) -> the network's outputs."""

    def __init__(self, net: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.net, self.preprocessing = net, preprocessing

    def forward(self, images: Tensor) -> Any:
        return self.net(self.preprocessing.normalised(images))


class Metrics(Protocol):
    """An accumulator of metrics over batches and processes."""

    def update(self, outputs: Outputs, targets: Any) -> None:
        """Add a batch: the network's outputs in evaluation mode and the targets, both on the CPU."""

    def merge(self, others: Sequence[Self]) -> None:
        """Add what other processes accumulated."""

    def compute(self) -> dict[str, float]:
        """The metrics by name, including the task's `metric`."""


class Parity(Protocol):
    """Whether two engines gave the same outputs for the same images. A dataclass, so that its fields can be stored."""

    @property
    def agrees(self) -> bool: ...

    def summary(self) -> str: ...


@dataclass(frozen=True)
class NumericParity:
    """The largest difference of an output over `images` images, and the tolerance."""

    images: int
    tolerance: float
    largest: float

    @property
    def agrees(self) -> bool:
        return self.largest <= self.tolerance

    def summary(self) -> str:
        return f"outputs differ by {self.largest:.2g} at most (allowed {self.tolerance:g})"


class Stitcher(Protocol):
    """Puts the predictions for overlapping tiles of an image together. add_whole: takes the outputs for the image in
    one piece, fitted to the network's input; None where only tiles count."""

    @property
    def add_whole(self) -> Callable[[Outputs], None] | None: ...

    def add(self, outputs: Outputs, top: int, left: int) -> None:
        """The outputs for the tile whose first pixel is at `top`, `left`; tiles come row by row."""

    def finish(self, name: str) -> Prediction:
        """The prediction for the image called `name`."""


@dataclass(frozen=True)
class Finding:
    """A problem of a network, the figures that show it, and the likely causes with what to do, likeliest first.

    severity: "error" for a network of no use as it is, "warning" for what should be checked.
    """

    severity: Literal["error", "warning"]
    title: str
    detail: str
    advice: tuple[str, ...]

    def summary(self) -> str:
        """The whole finding in one line."""
        return f"warning: {self.title}: {self.detail}. {self.heading}: {'; '.join(self.advice)}"

    @property
    def heading(self) -> str:
        """The heading of the advice."""
        return "Likely cause" if len(self.advice) == 1 else "Likely causes"


@dataclass(frozen=True)
class SplitOutputs:
    """The images of a split and a network's outputs for them.

    data, split: names of the data set and split; fingerprint: of the whole data set; trained_on: whether it is the
    training data set; left_out: (image, reason) of images in no split; seconds: how long the network took; train: the
    images that the network was trained on, None where they are others.
    """

    data: str
    split: str
    classes: tuple[str, ...]
    images: Split
    fingerprint: str
    trained_on: bool
    left_out: tuple[tuple[str, str], ...]
    outputs: Outputs
    seconds: float
    train: Split | None = None

    @property
    def scores(self) -> Tensor:
        """The first output, (n, ...)."""
        return self.outputs[0]


class Evaluation(Protocol):
    """The results on a split; a task's own class has more, which its reporter shows.

    metrics: by name, including "n", the number of images.
    """

    @property
    def scored(self) -> SplitOutputs: ...

    @property
    def metrics(self) -> dict[str, Any]: ...


class Comparison(Protocol):
    """Runs compared on the same images."""

    def verdict(self) -> str:
        """Each run's main figure, and the results of the tests, a line each."""

    def to_json(self) -> dict[str, Any]:
        """The whole comparison as plain values."""

    def page(self) -> str:
        """The page as HTML."""


@dataclass(frozen=True)
class ReportContext:
    """What a reporter may show besides an evaluation.

    card: the bundle's card as plain fields; preprocessing: the network's; explain: Grad-CAM of the network, None where
    several were averaged; records: the epochs of the training; protocol: the name of the test-time augmentation;
    previews: files of the pictures that were drawn during the training, in order.
    """

    card: Any
    preprocessing: Preprocessing
    explain: Explain | None
    records: Records
    protocol: str
    previews: tuple[Path, ...] = ()


class Reporter(ABC):
    """How a task shows evaluations and comparisons: on the console, in reports, in report.json."""

    @abstractmethod
    def figures(self, evaluation: Any) -> list[tuple[str, str, str]]:
        """(name, figure, note) of the figures at the top of a page, the main one first."""

    @abstractmethod
    def result(self, evaluation: Any) -> str:
        """The main figures, for the console."""

    @abstractmethod
    def sections(self, evaluation: Any, context: ReportContext) -> str:
        """The task's own sections of the report's page, as HTML. Raises DataError for an image that cannot be read."""

    def details(self, evaluation: Any, context: ReportContext) -> dict[str, Any]:
        """Contents of report.json besides the metrics, as plain values."""
        return {}

    def predictions(self, evaluation: Any) -> list[dict[str, Any]]:
        """Rows of report.json, one for each image in the split's order."""
        return []

    def findings(self, evaluation: Any, context: ReportContext) -> list[Finding]:
        """Problems of the network, errors first."""
        return []

    def baseline(self, evaluation: Any) -> str:
        """What constant or random predictions would score, in a sentence."""
        return ""

    def compare(self, runs: Sequence[str], evaluations: Sequence[Any], command: str) -> "Comparison":
        """Each run after the first compared with it. Raises SkipwayError where the task has no comparison."""
        raise SkipwayError("runs of this task cannot be compared with a test yet: evaluate each separately")

    def curves(self) -> dict[str, tuple[str, str, float]]:
        """Figures to plot by epoch: name in the records -> displayed name, unit, and factor to that unit."""
        return {"loss": ("Loss", "", 1)}

    def about_training(self, evaluation: Any, records: Records) -> str:
        """A sentence above the curves."""
        return ""


class Task(ABC):
    """What a network is trained for. Subclasses are frozen dataclasses.

    classes: the names in the order of the network's outputs; a task without classes names its outputs.
    """

    name: ClassVar[str]  # as in cards
    metric: ClassVar[str]  # the main figure
    higher_is_better: ClassVar[bool] = True
    pipeline_tag: ClassVar[str] = "other"  # the hub's name of the task
    annotation: ClassVar[str]  # of an image, as text: what such a network learns from
    figure_names: ClassVar[dict[str, str]] = {}  # figures in the line of an epoch, in percent: train_x or val_x -> name
    plain_figure_names: ClassVar[dict[str, str]] = {}  # likewise, figures that are no shares
    pretrained: ClassVar[bool] = True  # there may be weights to start from
    generates: ClassVar[bool] = False  # images, from noise, instead of predictions from images
    own_channels: ClassVar[bool] = False  # grey images have one channel, whatever their files hold
    output_names: ClassVar[tuple[str, ...]] = ("scores",)
    output_note: ClassVar[str] = ""  # how the outputs are to be read, for the README of exports; ends in a space
    criteria: ClassVar[tuple[str, ...]] = ()  # that a recipe may name instead of the task's own loss
    distils: ClassVar[bool] = False  # scores can be learned from a teacher: there is a `distillation_loss`
    activation: ClassVar[str] = ""  # in torch and OpenVINO: turns scores into probabilities; "": none
    calibrates: ClassVar[str] = ""  # what `calibrate` fits, a field of the card's calibration; "": nothing
    pools: ClassVar[bool] = True  # outputs of several views or networks can be averaged
    combines_images: ClassVar[bool] = False  # its transform has a mosaic
    in_memory: ClassVar[bool] = True  # small images may be cropped on the device: targets stay as they are
    classes: tuple[str, ...]

    # construction

    @classmethod
    @abstractmethod
    def from_classes(cls, classes: Sequence[str]) -> "Task":
        """The task for a card's or a data set's classes."""

    def configured(
        self, network: Mapping[str, Any], preprocessing: Preprocessing, calibration: Mapping[str, Any] | None
    ) -> "Task":
        """The task for a card's network, preprocessing and calibration, on which its predictions depend."""
        return self

    def chosen_on_val(self, metrics: Mapping[str, Any]) -> "Task":
        """The task with what was chosen on val by a training, such as thresholds, in a card's `metrics`; without it for
        {}. Raises ValueError for what cannot be."""
        return self

    @property
    def outputs(self) -> int:
        """How many numbers the network's head outputs for an image."""
        return len(self.classes)

    @property
    def head(self) -> dict[str, Any]:
        """The card's entry for the network's head."""
        return {"name": "linear", "outputs": self.outputs}

    def require_network(self, name: str) -> None:
        """Raises UnknownNameError, with the closest name, if no network of that name suits the task."""
        models.require_name(name)

    def body_of(self, name: str) -> str:
        """The classifier whose weights the network called `name` starts from: itself, unless it is built on one."""
        return name

    def network_on(self, body: str, gpu: bool) -> str:
        """The default network on `body`, a classifier, for a GPU or a processor."""
        return body

    def size_for(self, dataset: Dataset, gpu: bool) -> int:
        """The default of the recipe's `size`, in pixels; 0: by the recipe."""
        return 0

    def recipe_name(self, weights: str | None, side: int = 0) -> str:
        """The default recipe, from the network that the weights to start from belong to, None for no weights, and the
        images' usual shorter side in pixels; "": one that suits the images."""
        return ""

    def network_options(self, name: str) -> set[str]:
        """The arguments of `build` that the network called `name` takes besides its name."""
        return models.options_of(name)

    def build(self, network: Mapping[str, Any]) -> Network:
        """The network described by `network`, the arguments of `models.build`."""
        return models.build(**network)

    def trunk(self, net: Network) -> nn.Module:
        """The part of `net` that stores most of the activations, as a function of the images alone."""
        return net

    # training

    def for_training(self, dataset: Dataset, options: Mapping[str, Any], device: torch.device) -> "Task":
        """The task with the settings of its loss from the recipe's fields, `options`, and the training data."""
        return self

    def canvas(self, dataset: Dataset, size: int) -> tuple[int, int]:
        """Height and width of the network's input for a recipe's `size`."""
        return size, size

    def preprocessing_for(self, record: Preprocessing) -> Preprocessing | None:
        """`record`, whose mean and deviation are not set, as the task needs it; None: the images' own or those of
        pretrained weights."""
        return None

    def transform(self, preprocessing: Preprocessing, options: Mapping[str, Any]) -> Transform | None:
        """Images and targets augmented together, by the recipe's fields `options`; None: images alone."""
        return None

    def describe(self, dataset: Dataset, options: Mapping[str, Any]) -> str:
        """What is learned from which data, in one line."""
        return f"{self.name} ({self.annotation})"

    def sampling_weights(self, dataset: Dataset) -> np.ndarray:
        """(n,) probabilities of the training images that make classes equally likely. Raises SkipwayError without
        classes."""
        raise SkipwayError(f"--balance sampler needs classes, which the task {self.name} does not have: leave it out")

    @abstractmethod
    def loss(self, forward: Callable[..., Any], batch: Batch, random: BatchRandom | None = None) -> LossResult:
        """The loss of a batch, for which `forward`, the network, is called. `random`: of the batch's random numbers;
        None: of any."""

    def distillation_loss(self, outputs: Any, teacher: Tensor, temperature: float) -> Tensor:
        """The mean loss of a batch's outputs against the scores (N, outputs) of another network for the same images."""
        raise NotImplementedError(f"the task {self.name} has no teacher: see `distils`")

    def chance_loss(self, outputs: Any, targets: Any) -> Tensor | None:
        """The loss at chance, which a new network should start near; None: not known."""
        return None

    def soft_targets(self, targets: Any) -> Tensor:
        """Targets as (N, outputs) in [0, 1], which mixup mixes. Raises SkipwayError where the task has none."""
        raise SkipwayError(f"mixup and CutMix need classes, which the task {self.name} does not have: leave them out")

    def counts(self, outputs: Any, targets: Any) -> Tensor | None:
        """Counts of a training batch that add up over batches and processes; None where nothing is counted."""
        return None

    def train_metrics(self, counts: Tensor) -> dict[str, float]:
        """Metrics from the sum of `counts`."""
        return {}

    # evaluation

    @abstractmethod
    def metrics(self) -> Metrics:
        """A new accumulator."""

    def forward(self, net: Callable[..., Any], images: Tensor, targets: Labels, start: int) -> Outputs:
        """What `metrics` measures of `net`, for normalised images whose first is image `start` of the split."""
        return as_outputs(net(images))

    def preview(self, net: nn.Module, preprocessing: Preprocessing, device: torch.device) -> Image | None:
        """A picture of what `net` does, always for the same inputs, drawn at each validation; None: there is none."""
        return None

    def for_evaluation(self, net: Network, preprocessing: Preprocessing, device: torch.device) -> "Task":
        """The task with what `scorer` and `evaluate` need of a trained network, which is on `device`."""
        return self

    def with_samples(self, options: Any) -> "Task":
        """The task that evaluates generated images with `options` (`SampleEvaluation`). Raises SkipwayError where
        nothing is generated."""
        raise SkipwayError(
            f"--classifier, --samples, --inception and --likelihood are for generators: leave them out for {self.name}"
        )

    def scorer(self) -> Callable[[Split], Outputs] | None:
        """The function from a split to its outputs where these are not `net(images)`."""
        return None

    @abstractmethod
    def evaluate(self, scored: SplitOutputs, calibration: Mapping[str, Any] | None) -> Evaluation:
        """All results on a split. `calibration`: the card's."""

    @abstractmethod
    def summary(self, metrics: Mapping[str, Any]) -> str:
        """The main figure as text."""

    def calibrate(self, scored: SplitOutputs) -> dict[str, Any] | None:
        """The card's entry for what is fitted on `scored`, a temperature or threshold, with its split and n; None where
        nothing is fitted."""
        return None

    def summarise(self, outputs: Outputs, targets: Targets) -> Outputs:
        """What `evaluate` needs of the outputs for a batch of images, whose annotations are `targets`."""
        return outputs

    def pool(self, scores: Tensor) -> Tensor:
        """Scores (views, n, outputs) of several views or networks as one, (n, outputs)."""
        return scores.double().mean(0).float()

    # prediction

    def require_predictions(self) -> None:
        """Raises SkipwayError where the network predicts nothing from images."""
        return

    @abstractmethod
    def predict(self, name: str, outputs: Outputs, size: tuple[int, int], temperature: float, top: int) -> Prediction:
        """The prediction for the image called `name`, of `size` (height, width) pixels, from its outputs, without the
        batch dimension."""

    def stitcher(self, size: tuple[int, int]) -> Stitcher:
        """For the tiles of an image of `size` (height, width). Raises SkipwayError where a part of an image has no
        prediction of its own."""
        raise SkipwayError(f"answers of the task {self.name} are not predicted by tiles: leave out --tiles")

    # generation

    def sampler(self, net: nn.Module, preprocessing: Preprocessing, device: torch.device, batch: int = 0) -> Sampler:
        """Draws images from `net`, which is on `device`; `batch` images at once, 0: as many as suit the device. Raises
        SkipwayError where nothing is generated."""
        raise SkipwayError(f"the task {self.name} generates no images: use `skipway predict`")

    # engines and exports

    @property
    def input_names(self) -> tuple[str, ...]:
        """The names of the tensors that engines and exports take."""
        return ("images",)

    def deployed(self, net: nn.Module, preprocessing: Preprocessing) -> nn.Module:
        """What engines and exports run, a module that takes the tensors of `input_names`: `net` on fitted images."""
        return WithPreprocessing(net, preprocessing)

    def example_inputs(self, preprocessing: Preprocessing, count: int) -> tuple[Tensor, ...]:
        """Tensors in the order of `input_names` as `deployed` takes them, each with `count` first: black images."""
        shape = (count, preprocessing.channels, *preprocessing.canvas)
        return (torch.zeros(shape, dtype=torch.uint8).contiguous(memory_format=torch.channels_last),)

    def random_inputs(self, preprocessing: Preprocessing, count: int) -> tuple[tuple[Tensor, ...], str] | None:
        """Typical inputs, as `example_inputs`, and what they are, in words; None where images of the data are."""
        return None

    def whole_parity(self, reference: Runner, found: Runner, preprocessing: Preprocessing) -> Parity | None:
        """Whether `found`, of an export, leads to the results of `reference` where a result takes several calls; None
        where it takes one."""
        return None

    @property
    def decoding(self) -> dict[str, Any]:
        """What reading an export's outputs takes besides the card (`exported.py`), as plain values."""
        return {}

    def with_threshold(self, threshold: float | None) -> "Task":
        """The task that predicts what has at least this score; None: unchanged. Ignored where nothing has a score of
        its own."""
        return self

    def with_suppression(self, net: Network) -> "tuple[Task, nn.Module]":
        """For exports: `net` with non-maximum suppression behind it, which takes one image at a time, and the task for
        its outputs. Raises SkipwayError where there is nothing to suppress."""
        raise SkipwayError(f"--nms is for boxes, which the task {self.name} does not have: leave it out")

    def unread(self, name: str, error: str) -> Prediction:
        """The prediction of an image that could not be read."""
        return Prediction(name, error)

    def class_probabilities(self, scores: Tensor, temperature: float = 1.0) -> Tensor:
        """(n, classes) in [0, 1]; scores are divided by `temperature`. Raises SkipwayError without classes."""
        raise SkipwayError(f"the task {self.name} has no classes and no class probabilities")

    def parity(self, expected: Outputs, found: Outputs, precision: str) -> Parity:
        """Whether `found`, an engine's outputs in `precision`, agree with those of eager for the same images."""
        differences = [(a.float() - b.float()).abs().max() for a, b in zip(expected, found, strict=True)]
        scale = max(float(a.abs().max()) for a in expected)
        tolerance = {"float32": 1e-3, "float16": 0.01}.get(precision, 0.1) * max(scale, 1.0)
        largest = float(torch.stack(differences).nan_to_num(float("inf")).max())
        return NumericParity(len(expected[0]), tolerance, largest)

    # presentation

    @property
    @abstractmethod
    def presenter(self) -> Presenter:
        """How predictions are shown; imported on access."""

    @property
    @abstractmethod
    def reporter(self) -> Reporter:
        """How evaluations are shown; imported on access, with libraries that prediction does not need."""

    def explainer(self, net: Network, preprocessing: Preprocessing, device: torch.device) -> Explain | None:
        """A function for heat maps of a class by `net`, on `device`; None where the task has no classes."""
        return None
