"""Image generation by flow matching: the loss, held-out loss and evaluation of networks that predict a velocity.

Lipman, Chen, Ben-Hamu, Nickel, Le: Flow Matching for Generative Modeling. ICLR 2023, arXiv:2210.02747.
Liu, Gong, Liu: Flow Straight and Fast (rectified flow). ICLR 2023, arXiv:2209.03003.
Esser et al.: Scaling Rectified Flow Transformers (logit-normal times). ICML 2024, arXiv:2403.03206, sec. 3.1.
Ho, Salimans: Classifier-Free Diffusion Guidance (label dropout). 2022, arXiv:2207.12598.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NoReturn, Self

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor, nn

from skipway import models
from skipway.data.dataset import Dataset, Split
from skipway.data.decode import channels_in
from skipway.data.loader import Batch, in_order, sample_sizes
from skipway.data.preprocess import Preprocessing
from skipway.data.targets import Labels
from skipway.errors import SkipwayError, refuse_if
from skipway.models.base import Network
from skipway.tasks.base import (
    Evaluation,
    LossResult,
    NumericParity,
    Outputs,
    Parity,
    Presenter,
    Reporter,
    Runner,
    SplitOutputs,
    Task,
)
from skipway.tasks.batch_random import BatchRandom
from skipway.tasks.generate.flow import interpolate, logit_normal, velocity_target
from skipway.tasks.generate.metrics import MeanVelocityLoss
from skipway.tasks.generate.prediction import NO_PREDICTION
from skipway.tasks.generate.sample_evaluation import (
    DEFAULT_EVALUATION,
    SampleEvaluation,
    TrainedGenerator,
)
from skipway.tasks.generate.sampler import Sampler, SamplingOptions, to_uint8
from skipway.tasks.inference import BATCH, generation_batch

HELD_OUT = 0x5EED  # the seed of noise and times of the held-out loss, the same for every run
GOLDEN = (math.sqrt(5) - 1) / 2  # multiples of it modulo 1 fill the unit interval evenly, however many there are
TIMES, NOISE, DROPPED = range(3)  # the draws of a training batch
COLUMNS, ROWS = 10, 4  # pictures of a preview
PROVEN = 4  # whole samples that an export is compared with eager on
# An error of the velocity of this share, all in one direction, moves samples by one of 255 levels, as much as twice the
# steps do; bfloat16 gives 0.003 to 0.01 (docs/log.md).
BFLOAT16 = 0.01
EXACT = 1e-3  # root mean square by which they may differ, of images in [-1, 1]


@dataclass(frozen=True)
class Generate(Task):
    """Images like those learned from, each of a class of `classes` where there are any.

    time_mean, time_std: of logit(t), for the times t in training; label_dropout: the share of images whose class is
    replaced by the null class; trained: the network to be evaluated; options: how its samples are.
    """

    name: ClassVar[str] = "generate"
    metric: ClassVar[str] = "velocity_loss"
    pipeline_tag: ClassVar[str] = "unconditional-image-generation"
    higher_is_better: ClassVar[bool] = False
    annotation: ClassVar[str] = "images to generate"
    plain_figure_names: ClassVar[dict[str, str]] = {"val_velocity_loss": "val velocity loss"}
    pretrained: ClassVar[bool] = False
    generates: ClassVar[bool] = True
    own_channels: ClassVar[bool] = True
    output_names: ClassVar[tuple[str, ...]] = ("velocity",)
    output_note: ClassVar[str] = (
        "The network gives the velocity noise - image of images (1 - t) image + t noise; a sample is the solution of "
        "dx/dt = velocity(x, t) from noise at t = 1 to t = 0, in [-1, 1]. The label behind the last class is no class. "
    )
    pools: ClassVar[bool] = False
    classes: tuple[str, ...]
    time_mean: float = 0.0
    time_std: float = 1.0
    label_dropout: float = 0.0
    trained: TrainedGenerator | None = None
    options: SampleEvaluation = DEFAULT_EVALUATION

    # construction

    @classmethod
    def from_classes(cls, classes: Sequence[str]) -> Self:
        return cls(tuple(classes))

    @property
    def head(self) -> dict[str, Any]:
        return {"name": "velocity", "outputs": self.outputs}

    def require_network(self, name: str) -> None:
        models.require_generator(name)

    def recipe_name(self, weights: str | None, side: int = 0) -> str:
        sides = {16: "generate-8", 32: "generate-28", 48: "generate-32"}
        return next((recipe for below, recipe in sides.items() if side < below), "generate-64")

    def size_for(self, dataset: Dataset, gpu: bool) -> int:
        """The images' usual shorter side, or their longer one where all have the same shape; at most 64 pixels."""
        shape = common_shape(dataset)
        usual = max(shape) if shape else int(np.median([min(size) for size in sizes_in(dataset)]))
        return min(usual, models.SMALL)

    def network_options(self, name: str) -> set[str]:
        return {"classes", "channels", "dropout"}

    def build(self, network: Mapping[str, Any]) -> Network:
        return models.create_generator(**network)

    def trunk(self, net: Network) -> nn.Module:
        return AtNoise(net)

    # training

    def canvas(self, dataset: Dataset, size: int) -> tuple[int, int]:
        """`size` for the longer side where all images have the same shape; otherwise a square."""
        height, width = common_shape(dataset) or (1, 1)
        scale = size / max(height, width)
        return max(round(height * scale), 1), max(round(width * scale), 1)

    def preprocessing_for(self, record: Preprocessing) -> Preprocessing:
        """Pixels from -1 to 1, and no margin around the crop."""
        half = (0.5,) * record.channels
        return replace(record, mean=half, std=half, resize=min(record.canvas))

    def for_training(self, dataset: Dataset, options: Mapping[str, Any], device: torch.device) -> Self:
        """Raises SkipwayError for settings of a recipe that do not apply to generation."""
        for name in ("mixup", "cutmix", "mosaic", "label_smoothing", "small_epochs", "pretrained", "cutout", "colour"):
            option = f"--{name.replace('_', '-')}"
            refuse_if(options[name], f"{option} does not apply to generated images", "leave it out")
        refuse_if(
            options["crop"] not in ("none", "resized"),
            f"--crop {options['crop']} would be learned as part of the images",
            "give none or resized",
        )
        refuse_if(options["balance"] == "weights", "--balance weights is for a loss by class", "give sampler or none")
        unlabelled = options["label_dropout"] and not self.classes
        return replace(
            self,
            time_mean=options["time_mean"],
            time_std=options["time_std"],
            label_dropout=0.0 if unlabelled else options["label_dropout"],
        )

    def sampling_weights(self, dataset: Dataset) -> np.ndarray:
        refuse_if(not self.classes, "--balance sampler needs classes, and these images have none", "leave it out")
        labels = dataset.train.labels
        weights = 1 / dataset.train.counts(self.outputs)[labels]
        return weights / weights.sum()

    def describe(self, dataset: Dataset, options: Mapping[str, Any]) -> str:
        return f"generate (images{f' of {self.outputs} classes' if self.classes else ', without classes'})"

    def loss(self, forward: Callable[..., Any], batch: Batch, random: BatchRandom | None = None) -> LossResult:
        """The mean squared error of the velocity at random times (Lipman 2023, eq. 14, for straight paths)."""
        images, count = batch.images, len(batch.images)
        random = random or BatchRandom(0, count, slice(None), images.device)
        t = logit_normal(random.normal(TIMES), self.time_mean, self.time_std)
        noise = random.normal(NOISE, *images.shape[1:])
        labels = self.labels_for(batch.targets)
        if self.label_dropout:
            labels = torch.where(random.uniform(DROPPED) < self.label_dropout, self.outputs, labels)
        velocity = forward(interpolate(images, noise, t), t, labels)
        return LossResult({"loss": (velocity.float() - velocity_target(images, noise)).square().mean()}, velocity)

    def labels_for(self, targets: Labels) -> Tensor:
        """int64 (N,), the null class where there are no classes."""
        assert isinstance(targets, Tensor)
        return targets if self.classes else torch.full_like(targets, self.outputs)

    # evaluation

    def metrics(self) -> MeanVelocityLoss:
        return MeanVelocityLoss()

    def forward(self, net: Callable[..., Any], images: Tensor, targets: Labels, start: int) -> Outputs:
        """The loss of each image (N,), at a time and with noise that follow from its place in the split alone.

        The times are evenly spread over (0, 1) whatever a recipe learns from, so that runs compare.
        """
        places = np.arange(start, start + len(images))
        t = torch.from_numpy((places + 0.5) * GOLDEN % 1).float().to(images.device)
        noise = held_out_noise(places, images.shape[1:]).to(images.device)
        labels = self.labels_for(targets).to(images.device)
        velocity = net(interpolate(images, noise, t), t, labels)
        return ((velocity.float() - velocity_target(images, noise)).square().mean((1, 2, 3)),)

    def sampler(self, net: nn.Module, preprocessing: Preprocessing, device: torch.device, batch: int = 0) -> Sampler:
        """Draws images from `net`, which is on `device`; `batch` images at once, 0: as many as suit the device."""
        shape = (preprocessing.channels, *preprocessing.canvas)
        return Sampler(net, self.outputs, shape, device, batch or generation_batch(device, preprocessing.canvas))

    def preview(self, net: nn.Module, preprocessing: Preprocessing, device: torch.device) -> Image:
        """ROWS images of each of the first COLUMNS classes, or as many of no class, from the same noise each time."""
        from skipway.tasks.generate.gallery import grid

        net.eval()
        columns = min(self.outputs, COLUMNS) if self.classes else COLUMNS
        labels: list[int | None] = [column if self.classes else None for column in range(columns)] * ROWS
        samples = self.sampler(net, preprocessing, device).sample(labels, HELD_OUT, SamplingOptions())
        return grid(to_uint8(samples), columns)

    def for_evaluation(self, net: Network, preprocessing: Preprocessing, device: torch.device) -> Self:
        return replace(self, trained=TrainedGenerator(net, preprocessing, device))

    def with_samples(self, options: SampleEvaluation) -> Self:
        return replace(self, options=options)

    def scorer(self) -> Callable[[Split], Outputs]:
        """The held-out loss of each image of a split, (n,)."""
        assert self.trained is not None
        net, preprocessing, device = self.trained

        @torch.inference_mode()
        def losses(split: Split) -> Outputs:
            net.eval()
            found: list[Tensor] = []
            start, batch = 0, 4 * BATCH.get(device.type, BATCH["cpu"])
            for images in in_order(split, preprocessing, batch, 0):
                targets = split.targets.take(np.arange(start, start + len(images))).tensor()
                found += self.forward(net, preprocessing.normalised(images.to(device)), targets, start)
                start += len(images)
            return (torch.cat(found).cpu(),)

        return losses

    def evaluate(self, scored: SplitOutputs, calibration: Mapping[str, Any] | None) -> Evaluation:
        from skipway.tasks.generate.evaluation import measure

        assert self.trained is not None
        net, preprocessing, device = self.trained
        net.eval()
        return measure(scored, self.options, self.sampler(net, preprocessing, device), preprocessing, self.scorer())

    def summary(self, metrics: Mapping[str, Any]) -> str:
        loss = f"velocity loss {metrics['velocity_loss']:.4f}"
        if "frechet_distance" not in metrics:
            return loss
        distance = f"Fréchet distance {metrics['frechet_distance']:.3g} in features of {metrics['features']}"
        return f"{loss}, {distance} ({metrics['samples']:,} samples)"

    # prediction

    def require_predictions(self) -> NoReturn:
        raise SkipwayError(NO_PREDICTION)

    def predict(self, name: str, outputs: Outputs, size: tuple[int, int], temperature: float, top: int) -> NoReturn:
        raise SkipwayError(NO_PREDICTION)

    # engines and exports

    @property
    def input_names(self) -> tuple[str, ...]:
        return ("images", "times", "labels") if self.classes else ("images", "times")

    def deployed(self, net: nn.Module, preprocessing: Preprocessing) -> nn.Module:
        return net

    def example_inputs(self, preprocessing: Preprocessing, count: int) -> tuple[Tensor, ...]:
        """Black images, times and labels of 0."""
        images = torch.zeros(count, preprocessing.channels, *preprocessing.canvas)
        inputs = (images, torch.zeros(count), torch.zeros(count, dtype=torch.int64))
        return inputs[: len(self.input_names)]

    def random_inputs(self, preprocessing: Preprocessing, count: int) -> tuple[tuple[Tensor, ...], str]:
        """Noise, times spread over (0, 1), and every label in turn, the null class too."""
        noise = held_out_noise(np.arange(count), (preprocessing.channels, *preprocessing.canvas))
        labels = torch.arange(count) % (self.outputs + 1)
        inputs = (noise, (torch.arange(count) + 0.5) / count, labels)
        return inputs[: len(self.input_names)], f"{count} images of noise"

    def parity(self, expected: Outputs, found: Outputs, precision: str) -> Parity:
        """In float32 as of other networks; in fewer bits by the root mean square, which is what samples follow."""
        if precision == "float32":
            return super().parity(expected, found, precision)
        (ours,), (theirs,) = expected, found
        share = (theirs - ours).square().mean().sqrt() / ours.square().mean().sqrt()
        return NumericParity(len(ours), BFLOAT16, float(share.nan_to_num(float("inf"))))

    def whole_parity(self, reference: Runner, found: Runner, preprocessing: Preprocessing) -> Parity:
        """The root mean square between samples of both, from the same noise."""

        def samples(run: Runner) -> Tensor:
            def velocity(*inputs: Tensor) -> Tensor:
                return run(*inputs[: len(self.input_names)])[0]

            shape = (preprocessing.channels, *preprocessing.canvas)
            sampler = Sampler(velocity, self.outputs, shape, torch.device("cpu"), PROVEN)
            labels = [place % self.outputs if self.classes else None for place in range(PROVEN)]
            return sampler.sample(labels, HELD_OUT, SamplingOptions())

        difference = (samples(reference) - samples(found)).square().mean((1, 2, 3)).sqrt()
        return NumericParity(PROVEN, EXACT, float(difference.nan_to_num(float("inf")).max()))

    # presentation

    @property
    def presenter(self) -> Presenter:
        from skipway.tasks.generate.present import GeneratePresenter

        return GeneratePresenter()

    @property
    def reporter(self) -> Reporter:
        from skipway.tasks.generate.reporter import GenerateReporter

        return GenerateReporter()


class AtNoise(nn.Module):
    """A velocity network as a function of the images alone, at t = 1 and without a class."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images, images.new_ones(len(images)))


def held_out_noise(places: np.ndarray, shape: Sequence[int]) -> Tensor:
    """Standard normal numbers (n, *shape), each image's from its place alone."""
    rows = []
    for place in places:
        generator = torch.Generator().manual_seed((HELD_OUT << 32) + int(place))
        rows.append(torch.randn(*shape, generator=generator))
    return torch.stack(rows)


def sizes_in(dataset: Dataset) -> list[tuple[int, int]]:
    """(height, width) of a sample of the training images."""
    return sample_sizes(dataset.train, channels_in(dataset.train.items[0], dataset.train.names[0]))


def common_shape(dataset: Dataset) -> tuple[int, int] | None:
    """Height and width in pixels that all images of a sample have; None where they differ."""
    sizes = set(sizes_in(dataset))
    return sizes.pop() if len(sizes) == 1 else None
