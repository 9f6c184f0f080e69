"""Training steps of `benchmarks.gpu`: ours, torchvision's networks in a plain loop, and timm's settings."""

import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from rich.console import Console
from torch import nn

import skipway
from benchmarks.gpu_timing import Bench, SkippedError, Step, compare, labels, pictures
from skipway.data.box_targets import from_images
from skipway.data.dataset import Dataset
from skipway.data.image_targets import GenerationTargets
from skipway.data.loader import Batch
from skipway.data.mask_targets import from_label_maps
from skipway.hardware import Hardware
from skipway.training.cuda_graphs import CudaRecorder, StepGraphs
from skipway.training.distributed import SINGLE_PROCESS
from skipway.training.optimiser import set_training_mode
from skipway.training.recipes import DETECT_SCRATCH, FAST_CIFAR, GENERATE_32, HE2015_CIFAR, SEGMENT_SCRATCH, Recipe
from skipway.training.run_manifest import DEFAULT_OPTIONS
from skipway.training.setup import require_steps, setup_training
from skipway.training.step import train_step
from skipway.training.train_state import TrainRun, TrainState, fresh_state, wrap_model

QUIET = Console(quiet=True)
CLASSES = 10
LONG = 1_000_000  # iterations, so that the rate never falls
RATE = 0.01
EPOCH = 10  # batches in the data, because a batch is made smaller where they are fewer
TARGET = 0.854  # accuracy that a plain loop reaches in 14 epochs on the lossy copy of CIFAR-10


def opened(recipe: Recipe, dataset: Dataset, settings: Hardware) -> tuple[TrainRun, TrainState]:
    """A run before its first step."""
    made = setup_training(dataset, recipe, settings, QUIET)
    out = Path(tempfile.gettempdir(), "skipway-gpu")
    run = TrainRun(made, settings, SINGLE_PROCESS, DEFAULT_OPTIONS, require_steps(made), {}, out, QUIET)
    state = fresh_state(run)
    wrap_model(run, state)
    set_training_mode(state.net, made.recipe, only_classifier=False)
    return run, state


def batches(run: TrainRun, loaded: bool) -> Iterator[Batch]:
    """Every batch of the loader or, unless `loaded`, the first one again and again."""
    epochs = itertools.chain.from_iterable(run.setup.batches.epoch(epoch) for epoch in itertools.count())
    placed = (batch._replace(images=run.hardware.place_images(batch.images)) for batch in epochs)
    return placed if loaded else itertools.repeat(next(placed))


def ours(
    bench: Bench, recipe: Recipe, dataset: Dataset, compiled: bool = False, graphs: bool = False, loaded: bool = False
) -> Callable[[], Step]:
    """A step of the package's training: forward, backward and update. `loaded`: with the next batch and its
    augmentation, otherwise on one batch that is on the device; `graphs`: recorded once and replayed."""

    def make() -> Step:
        if graphs:
            bench.require_cuda("recording")
        run, state = opened(recipe, dataset, bench.settings(compiled))
        step = StepGraphs(run, state, CudaRecorder(run.hardware.device)).train_step if graphs else train_step
        given = batches(run, loaded)

        def take() -> None:
            step(run, state, next(given), counted=True)

        return take

    return make


def plain(
    bench: Bench, net: Callable[[], nn.Module], size: int, batch: int, compiled: bool = False
) -> Callable[[], Step]:
    """A step of the loop that everybody writes: the same precision, memory format and update, on one batch."""

    def make() -> Step:
        settings = bench.settings(compiled)
        placed = settings.place(net()).train()
        forward = torch.compile(placed) if compiled else placed
        sgd = torch.optim.SGD(placed.parameters(), RATE, momentum=0.9, weight_decay=1e-4)
        return loop_step(forward, sgd, settings, size, batch)

    return make


def timms(bench: Bench, name: str, size: int, batch: int) -> Callable[[], Step]:
    """A step with timm's network and timm's optimiser as its training script makes them."""

    def make() -> Step:
        try:
            import timm
            from timm.optim import create_optimizer_v2
        except ImportError:
            raise SkippedError("timm is not installed") from None
        settings = bench.settings()
        net = settings.place(timm.create_model(name, num_classes=CLASSES)).train()
        sgd = create_optimizer_v2(net, opt="sgd", lr=RATE, momentum=0.9, weight_decay=2e-5)
        return loop_step(net, sgd, settings, size, batch)

    return make


def loop_step(
    forward: Callable[..., torch.Tensor], optimiser: torch.optim.Optimizer, settings: Hardware, size: int, batch: int
) -> Step:
    images = settings.place_images(torch.randn(batch, 3, size, size))
    targets = torch.arange(batch, device=settings.device) % CLASSES

    def step() -> None:
        with settings.autocast():
            scores = forward(images)
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(scores.float(), targets).backward()
        optimiser.step()

    return step


# ---------------------------------------------------------------------------------------------------------------------
# Cases


def resnet50_recipe(size: int, batch: int) -> Recipe:
    return replace(
        HE2015_CIFAR, model="resnet50", size=size, batch=batch, lr=RATE, lr_batch=batch, iterations=LONG, crop="none"
    )


def resnet50(bench: Bench) -> None:
    """Eager and recorded, beside a plain torchvision loop and timm's settings."""
    size, batch = (96, 2) if bench.dry else (224, 256)
    recipe, dataset = resnet50_recipe(size, batch), pictures(size, labels(EPOCH * batch, CLASSES), CLASSES)
    sides = {
        "skipway eager": ours(bench, recipe, dataset),
        "torchvision eager": plain(bench, lambda: torchvision.models.resnet50(num_classes=CLASSES), size, batch),
        "timm eager": timms(bench, "resnet50", size, batch),
        "skipway CUDA graphs": ours(bench, recipe, dataset, graphs=True),
    }
    compare(bench, f"training resnet50, {size} pixels, batch {batch}", sides, batch)


def resnet50_compiled(bench: Bench) -> None:
    """Compiled, beside torchvision's network compiled; the first step's seconds are mostly compilation."""
    size, batch = (96, 2) if bench.dry else (224, 256)
    recipe, dataset = resnet50_recipe(size, batch), pictures(size, labels(EPOCH * batch, CLASSES), CLASSES)
    sides = {
        "skipway compiled": ours(bench, recipe, dataset, compiled=True),
        "skipway compiled, CUDA graphs": ours(bench, recipe, dataset, compiled=True, graphs=True),
        "torchvision compiled": plain(
            bench, lambda: torchvision.models.resnet50(num_classes=CLASSES), size, batch, compiled=True
        ),
    }
    compare(bench, f"training resnet50, {size} pixels, batch {batch}", sides, batch)


def small_network(name: str, compiled: bool = False) -> Callable[[Bench], None]:
    """A CIFAR network at 32 pixels, batch 128, as `skipway study --scale paper` trains it."""

    def case(bench: Bench) -> None:
        size, batch, count = (16, 8, 64) if bench.dry else (32, 128, 50_000)
        recipe = replace(HE2015_CIFAR, model=name, size=size, batch=batch, lr=RATE, iterations=LONG)
        dataset = pictures(size, labels(count, CLASSES), CLASSES)
        sides = {
            "eager, with its loader": ours(bench, recipe, dataset, loaded=True),
            "CUDA graphs, with its loader": ours(bench, recipe, dataset, graphs=True, loaded=True),
            "eager": ours(bench, recipe, dataset),
            "CUDA graphs": ours(bench, recipe, dataset, graphs=True),
        }
        if compiled:
            sides["compiled, CUDA graphs"] = ours(bench, recipe, dataset, compiled=True, graphs=True)
        compare(bench, f"training {name}, {size} pixels, batch {batch}", sides, batch)

    return case


def fast_cifar(bench: Bench) -> None:
    """`fast-cifar` on a copy of CIFAR-10: test accuracy, read once at the end, and the seconds of training."""
    if bench.cifar is None or not bench.cifar.exists():
        raise SkippedError("no copy of CIFAR-10: give its folder with --cifar")
    recipe = replace(FAST_CIFAR, epochs=1, small_epochs=0, small=0) if bench.dry else FAST_CIFAR
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = skipway.train(str(bench.cifar), recipe, Path(folder, "run"), console=Console(width=160))
        records = [json.loads(line) for line in Path(folder, "run", "metrics.jsonl").read_text().splitlines()]
        accuracy = float(run.metrics["top1"])
    bench.emit(
        f"fast-cifar to {100 * TARGET:.1f} % ({recipe.model}, {recipe.epochs} epochs, seed {recipe.seed})",
        "skipway.train",
        test_accuracy=round(100 * accuracy, 2),
        reached=accuracy >= TARGET,
        training_s=records[-1]["seconds"],
        whole_command_s=round(time.perf_counter() - start, 1),
        images_per_s=records[-1]["images_per_second"],
    )


def detection(bench: Bench) -> None:
    """Boxes: the step of fcos_resnet50, and its inference as images a second of eager passes."""
    size, batch = (64, 2) if bench.dry else (512, 16)
    boxes = [[((8.0, 8.0, size / 2, size / 2), 0, False, size * size / 5, None)] for _ in range(EPOCH * batch)]
    dataset = pictures(size, from_images(boxes, [(size, size)] * len(boxes)), 2)
    recipe = replace(
        DETECT_SCRATCH, model="fcos_resnet50", size=size, batch=batch, lr=1e-4, crop="none", iterations=LONG, val=0.0
    )
    name = f"fcos_resnet50, {size} pixels, batch {batch}"
    compare(bench, f"training {name}", {"eager": ours(bench, recipe, dataset)}, batch)
    compare(bench, f"inference {name}", {"eager": forward_step(bench, recipe, dataset)}, batch)


def forward_step(bench: Bench, recipe: Recipe, dataset: Dataset) -> Callable[[], Step]:
    """The network's forward pass in evaluation mode on one batch that is on the device."""

    def make() -> Step:
        run, state = opened(recipe, dataset, bench.settings())
        images = next(batches(run, loaded=False)).images
        state.net.eval()

        @torch.inference_mode()
        def step() -> None:
            with run.hardware.autocast():
                state.net(images)

        return step

    return make


def segmentation(bench: Bench) -> None:
    """Label maps: the step of unet_resnet50."""
    size, batch = (64, 2) if bench.dry else (256, 16)
    maps = [np.arange(size * size).reshape(size, size).astype(np.uint8) % 4 for _ in range(EPOCH * batch)]
    dataset = pictures(size, from_label_maps(maps, 4), 4)
    recipe = replace(
        SEGMENT_SCRATCH,
        model="unet_resnet50",
        size=size,
        crop_size=size,
        batch=batch,
        lr=1e-4,
        iterations=LONG,
        val=0.0,
    )
    what = f"training unet_resnet50, {size} pixels, batch {batch}"
    compare(bench, what, {"eager": ours(bench, recipe, dataset)}, batch)


def generation(bench: Bench) -> None:
    """Generated images: the step of unet32."""
    batch = 2 if bench.dry else 256
    dataset = pictures(32, GenerationTargets(labels(EPOCH * batch, CLASSES)), CLASSES)
    recipe = replace(GENERATE_32, batch=batch, lr=1e-4, lr_batch=batch, iterations=LONG, val=0.0)
    sides = {"eager": ours(bench, recipe, dataset), "compiled": ours(bench, recipe, dataset, compiled=True)}
    compare(bench, f"training unet32, 32 pixels, batch {batch}", sides, batch)
