"""Generators trained for a study, and the gradients that reach their units at the start."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn

from skipway.data.dataset import Dataset, Split
from skipway.data.decode import channels_in
from skipway.data.image_targets import with_task
from skipway.data.loader import decode_all, derive_seed, natural_size
from skipway.data.preprocess import Preprocessing
from skipway.errors import DataError
from skipway.hardware import ShapesOnly
from skipway.models.base import Network
from skipway.models.generation.unet import VelocityUNet
from skipway.study.engine.code_hash import REPORTING, existing_modules, file_of, syntax, with_imports
from skipway.study.engine.context import ExperimentContext
from skipway.study.engine.runs import evenly
from skipway.study.networks.unet_variants import VARIANTS, residual_units, variants_by_name
from skipway.study.probes.activations import forward_hooks, norms
from skipway.tasks import Task, task_for
from skipway.tasks.generate.sampler import Sampler, SamplingOptions, to_uint8
from skipway.trained import TrainedModel
from skipway.training.errors import NonFiniteError
from skipway.training.loop import train
from skipway.training.recipes import Recipe, find_recipe

LARGEST = 16  # pixels a side: the networks are for smaller images
GRADIENT_IMAGES = 64
COMPUTES = (  # what the numbers depend on, besides the training loop and the networks
    *("hardware", "data.augment", "data.decode", "data.loader", "data.preprocess", "models.generation.unet"),
    *("tasks.batch_random", "tasks.generate.draws", "tasks.generate.flow", "tasks.generate.sampler"),
    *("tasks.generate.solvers", "tasks.generate.task"),
)


@dataclass(frozen=True)
class GeneratorTraining:
    """Trainings of `steps` steps by the recipe generate-8, on the images of a study."""

    context: ExperimentContext
    steps: int

    @cached_property
    def dataset(self) -> Dataset:
        """The study's data set, read for generation. Raises DataError for larger images."""
        dataset = self.context.dataset
        side = natural_size(dataset.train, channels_in(dataset.train.items[0], dataset.train.names[0]))
        if side >= LARGEST:
            raise DataError(
                f"{dataset.name} has images of {side} pixels, and this study trains networks for fewer than "
                f"{LARGEST}: give --data digits"
            )
        return with_task(dataset, "generate")

    def recipe(self, network: str, seed: int) -> Recipe:
        """All images of train are learned from; pictures during the training are left out."""
        recipe = replace(find_recipe("generate-8"), model=network, iterations=self.steps, seed=seed)
        return replace(recipe, val=0.0, val_every=self.steps)

    @cached_property
    def task(self) -> Task:
        """The task, with the times of the recipe."""
        recipe = vars(find_recipe("generate-8"))
        return task_for(self.dataset).for_training(self.dataset, recipe, self.context.hardware.device)

    def measured(self, network: str, seed: int) -> dict[str, Any]:
        """The losses of a training (`run`), computed once."""
        part = f"{network} {seed} {self.steps}"
        return self.context.cached(part, __file__, [training_code()], lambda: self.run(network, seed))

    def run(self, network: str, seed: int) -> dict[str, Any]:
        """Train `network`: its losses, and an image of each class in hexadecimal, a byte a pixel.

        curve: (step, mean loss of the pass over train that ends there); first: of the first pass; train, test: of the
        averaged weights at the end, on as many images of both, at the same noise and times in every run. A run that
        diverges counts as the velocity 0, with which all begin.
        """
        hardware = self.context.hardware
        with TemporaryDirectory() as folder, variants_by_name():
            run = Path(folder) / "run"
            try:
                train(self.dataset, self.recipe(network, seed), run, hardware, Console(quiet=True))
            except NonFiniteError as fault:
                loss = self.untrained_loss()
                return {"curve": [], "first": loss, "train": loss, "test": loss, "samples": [], "diverged": fault.found}
            records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            trained = TrainedModel.load(run, hardware)
        test = self.dataset.split("test")
        on_train = self.held_out(trained.net, trained.preprocessing, evenly(self.dataset.train, len(test)))
        curve = [[record["step"], round(record["train_loss"], 5)] for record in records]
        return {
            "curve": curve,
            "first": curve[0][1],
            "train": on_train,
            "test": self.held_out(trained.net, trained.preprocessing, test),
            "samples": self.samples(trained.net, trained.preprocessing),
            "diverged": "",
        }

    def held_out(self, net: Network, preprocessing: Preprocessing, split: Split) -> float:
        """The mean loss of the images of a split, each at a time and with noise that follow from its place."""
        score = self.task.for_evaluation(net, preprocessing, self.context.hardware.device).scorer()
        assert score is not None
        return round(float(score(split)[0].double().mean()), 5)

    def samples(self, net: Network, preprocessing: Preprocessing) -> list[str]:
        """An image of each class, from the same noise in every run; the first channel."""
        count = len(self.dataset.classes)
        shape = (preprocessing.channels, *preprocessing.canvas)
        sampler = Sampler(net.eval(), count, shape, self.context.hardware.device, count)
        images = to_uint8(sampler.sample(list(range(count)), 0, SamplingOptions()))
        return [bytes(image[0].flatten().tolist()).hex() for image in images]

    def untrained(self, network: str, seed: int) -> VelocityUNet:
        """The network as a training with this seed starts."""
        channels = channels_in(self.dataset.train.items[0], self.dataset.train.names[0])
        with torch.random.fork_rng([]):
            torch.manual_seed(derive_seed(seed))
            return VARIANTS[network](classes=len(self.dataset.classes), channels=channels)

    @property
    def preprocessing(self) -> Preprocessing:
        """That of trained networks: pixels from -1 to 1."""
        found = self.task.preprocessing_for(self.context.preprocessing)
        assert found is not None
        return found

    def untrained_loss(self) -> float:
        """The held-out loss of the velocity 0, with which every network starts."""
        net = self.untrained(next(iter(VARIANTS)), 0).to(self.context.hardware.device)
        return self.held_out(net, self.preprocessing, self.dataset.split("test"))

    def gradients(self, network: str, seed: int) -> list[float]:
        """The norm of the gradient of the loss after each unit of the untrained network, relative to the last one's.

        The last convolution of the network has random weights: with zeros no gradient passes it.
        """
        net = self.untrained(network, seed)
        split = evenly(self.dataset.split("test"), GRADIENT_IMAGES)
        images = self.preprocessing.normalised(decode_all(split, self.preprocessing))
        return unit_gradients(net, self.task, images, split)


def unit_gradients(net: VelocityUNet, task: Task, images: Tensor, split: Split) -> list[float]:
    """As `GeneratorTraining.gradients`, of images (n, C, H, W) in [-1, 1] and their split."""
    assert isinstance(net.conv_out, nn.Conv2d)
    net.conv_out.reset_parameters()
    outputs: list[Tensor] = []
    with forward_hooks(residual_units(net), lambda _, __, out: outputs.append(out)):
        loss = task.forward(net, images, split.targets.tensor(), 0)[0].mean()
        found = norms(torch.autograd.grad(loss, outputs))
    return [value / found[-1] for value in found]


def training_code() -> str:
    """SHA-256 of the code that determines a training's result, in hexadecimal."""
    modules: set[str] = set(with_imports("skipway.training.loop", ("training",)))
    modules = modules - existing_modules(f"training.{name}" for name in REPORTING) | existing_modules(COMPUTES)
    return hashlib.sha256("\0".join(syntax(file_of(name)) for name in sorted(modules)).encode()).hexdigest()


def parameters(network: str, classes: int, channels: int) -> int:
    """The number of parameters of a variant."""
    with ShapesOnly():
        return sum(p.numel() for p in VARIANTS[network](classes=classes, channels=channels).parameters())
