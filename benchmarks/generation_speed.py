"""Image generation beside diffusers and torchcfm's example, on the processor. results/generation_speed.json

    python -m benchmarks.generation_speed MNIST [--rounds 3]

unet8 on the digits and unet28 on MNIST's first images, with ten classes, at the batch of their recipes.

sampling: images a second, 64 images from noise to 8-bit pixels in 35 evaluations of the network: `skipway.Generator`
with "auto", whose engine is chosen in this run, and with "eager", beside UNet2DModel of diffusers with the same
weights, in the loop that its documentation shows with FlowMatchHeunDiscreteScheduler, in one batch and in batches of
16, and beside DDIMPipeline, the closest of its pipelines, which takes no classes. All in float32, except for the
engine where the processor has bfloat16. What else differs: our noise is drawn image by image; their last step of Heun
starts at t = 0.001, ours at 1/18; pixels are folded once around their loop, and at each evaluation of ours.

training: images a second from images in memory to updated weights, with clipped gradients and averaged weights: our
steps beside the loop of torchcfm's examples (github.com/atong01/conditional-flow-matching, images/conditional_mnist
and images/cifar10: a DataLoader without workers, torchvision's transforms, ConditionalFlowMatcher without transport,
Adam, warm-up, averaging by state dict), with our network and with that of diffusers. Theirs is always in float32; ours
as `skipway train` has it here and, where that is not float32, in float32 too. The C library keeps freed memory, as
`skipway train` asks it to, to the benefit of both. What else differs: our optimiser is AdamW without decay, ours drops
labels, draws the times and the noise of each image from its place in the run, and checks every loss.
Needs diffusers, which the package does not depend on.
"""

import argparse
import copy
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DDIMPipeline, DDIMScheduler, FlowMatchHeunDiscreteScheduler, UNet2DModel
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from benchmarks.harness import alternate, save, turns
from skipway import bundle, hardware
from skipway.data import open_dataset
from skipway.data.dataset import Dataset
from skipway.data.loader import decode_all
from skipway.data.read_options import ReadOptions
from skipway.deploy.engines.selection import folder_of, read_choice
from skipway.deploy.generate.generator import Generator
from skipway.deploy.generate.request import GenerationRequest
from skipway.hardware import Hardware
from skipway.models.generation.unet import Attention, VelocityUNet, folded, unfolded
from skipway.tasks.generate.sampler import SamplingOptions
from skipway.training.distributed import SINGLE_PROCESS
from skipway.training.optimiser import set_training_mode
from skipway.training.recipes import GENERATE_8, GENERATE_28, Recipe
from skipway.training.run_log import make_card
from skipway.training.run_manifest import DEFAULT_OPTIONS
from skipway.training.setup import TrainSetup, require_steps, setup_training
from skipway.training.step import train_step
from skipway.training.train_state import TrainRun, fresh_state, wrap_model

COUNT, SMALL_BATCH = 64, 16  # images drawn, and in their smaller batches
IMAGES = 6_400  # of MNIST
STEPS = {"unet8": 10, "unet28": 3}  # of training in a turn
QUIET = Console(quiet=True)
OPTIONS = SamplingOptions()
Velocity = Callable[[Tensor, Tensor, Tensor], Tensor]


def diffusers_network(net: VelocityUNet, size: tuple[int, int], labelled: bool = True) -> UNet2DModel:
    """diffusers' network of the same parts with the weights of `net`, for folded images of `size`."""
    levels, channels = list(net.down_blocks), net.conv_in.in_channels
    attended = [isinstance(level.attentions[0], Attention) for level in levels]
    groups = net.conv_norm_out.num_groups
    twin = UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=tuple(net.channels),
        layers_per_block=len(levels[0].resnets),
        down_block_types=tuple("AttnDownBlock2D" if here else "ResnetDownsampleBlock2D" for here in attended),
        up_block_types=tuple("AttnUpBlock2D" if here else "ResnetUpsampleBlock2D" for here in reversed(attended)),
        downsample_type="resnet",
        upsample_type="resnet",
        resnet_time_scale_shift="scale_shift",
        attention_head_dim=net.mid_block.attentions[0].head,
        num_class_embeds=net.classes + 1 if labelled else None,
        norm_num_groups=groups,
        attn_norm_num_groups=groups,
        norm_eps=1e-5,
    )
    weights = {name: value for name, value in net.state_dict().items() if labelled or "class_embedding" not in name}
    twin.load_state_dict(weights, strict=True)
    return twin


def velocity_of(twin: UNet2DModel, fold: int) -> Velocity:
    """diffusers' network as a function of images, times and labels as ours takes them."""

    def velocity(x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return unfolded(twin(folded(x, fold), 1000 * t, labels).sample, fold, x.shape[2:])

    return velocity


def shaken(net: VelocityUNet) -> VelocityUNet:
    """`net` with random weights where it starts with zeros, which would hide differences of engines."""
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.dim() > 1 and not parameter.any():
                parameter.normal_(0, 0.05)
    return net


@torch.inference_mode()
def require_equal(net: VelocityUNet, twin: UNet2DModel, shape: tuple[int, ...]) -> None:
    x, t, labels = torch.randn(4, *shape), torch.rand(4), torch.arange(4)
    torch.testing.assert_close(net.eval()(x, t, labels), velocity_of(twin.eval(), net.fold)(x, t, labels))


# ---------------------------------------------------------------------------------------------------------------------
# Sampling, from noise to pixels


def our_samples(generator: Generator) -> Callable[[], None]:
    def run() -> None:
        assert len(list(generator.generate(GenerationRequest(n=COUNT, options=OPTIONS)))) == COUNT

    return run


def flow_matching_loop(twin: UNet2DModel, fold: int, batch: int) -> Callable[[], None]:
    """diffusers' loop, with each class in turn."""
    twin = twin.eval()
    shape = (batch, twin.config.in_channels, *twin.config.sample_size)
    labels = torch.arange(COUNT) % (twin.config.num_class_embeds - 1)

    @torch.inference_mode()
    def run() -> None:
        scheduler = FlowMatchHeunDiscreteScheduler()
        for start in range(0, COUNT, batch):
            scheduler.set_timesteps(OPTIONS.steps)
            assert len(scheduler.timesteps) == OPTIONS.evaluations
            x = torch.randn(shape)
            for t in scheduler.timesteps:
                velocity = twin(x, t, class_labels=labels[start : start + batch]).sample
                x = scheduler.step(velocity, t, x).prev_sample
            pixels(pixel_shuffle(x, fold) / 2 + 0.5)

    return run


def ddim_pipeline(twin: UNet2DModel, fold: int) -> Callable[[], None]:
    """diffusers' pipeline, with as many evaluations."""
    pipeline = DDIMPipeline(twin.eval(), DDIMScheduler())
    pipeline.set_progress_bar_config(disable=True)

    @torch.inference_mode()
    def run() -> None:
        found = pipeline(batch_size=COUNT, num_inference_steps=OPTIONS.evaluations, output_type="pt").images
        pixels(pixel_shuffle(found, fold))

    return run


def pixels(images: Tensor) -> np.ndarray:
    """(N, C, H, W) in [0, 1] as uint8 (N, H, W, C), as diffusers' pipelines do it."""
    return (images.clamp(0, 1).permute(0, 2, 3, 1).numpy() * 255).round().astype("uint8")


def sampling(made: TrainSetup, settings: Hardware, rounds: int) -> dict[str, Any]:
    """With random weights, which take as long as others."""
    net, (height, width) = shaken(made.net), made.preprocessing.canvas
    size = height // net.fold, width // net.fold
    twin, unlabelled = (diffusers_network(net, size, labelled) for labelled in (True, False))
    require_equal(net, twin, (made.preprocessing.channels, height, width))
    with tempfile.TemporaryDirectory() as folder:
        os.environ["SKIPWAY_CACHE"] = folder  # so that engines are measured now, and not remembered from a busy hour
        run = bundle_of(made, settings, Path(folder, "run"))
        ours = {
            name: Generator(run, settings, name, lambda line: print(line, flush=True)) for name in ("auto", "eager")
        }
        choice = read_choice(folder_of(ours["auto"].card, settings) / "choice-throughput.json")
        assert choice is not None
        candidates = {"skipway": our_samples(ours["auto"]), "skipway eager": our_samples(ours["eager"])}
        for batch in (COUNT, SMALL_BATCH):
            candidates[f"diffusers loop, batch {batch}"] = flow_matching_loop(twin, net.fold, batch)
        candidates["diffusers DDIMPipeline, no classes"] = ddim_pipeline(unlabelled, net.fold)
        found = measured(candidates, rounds, COUNT)
    return {"engine": choice.engine, "options": choice.options, **found}


def bundle_of(made: TrainSetup, settings: Hardware, folder: Path) -> Path:
    """A bundle of the network as it is."""
    folder.mkdir()
    card = make_card(made, made.dataset.fingerprint, settings, [{"seconds": 0.0}])
    bundle.write(folder, made.net.state_dict(), card)
    return folder


# ---------------------------------------------------------------------------------------------------------------------
# Training, from images in memory to updated weights


def our_steps(made: TrainSetup, settings: Hardware) -> Iterator[None]:
    """A step of the package's training at each turn."""
    run = TrainRun(made, settings, SINGLE_PROCESS, DEFAULT_OPTIONS, require_steps(made), {}, Path(), QUIET)
    state = fresh_state(run)
    wrap_model(run, state)
    set_training_mode(state.net, made.recipe, only_classifier=False)
    for epoch in count():
        for batch in made.batches.epoch(epoch):
            train_step(run, state, batch._replace(images=settings.place_images(batch.images)), counted=True)
            yield


class Pictures(TorchDataset):
    """Images in memory, opened and transformed one by one, as torchvision's MNIST has them."""

    def __init__(self, images: Tensor, labels: np.ndarray) -> None:
        self.images, self.labels = images[:, 0].numpy(), labels.tolist()
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.images[place])), self.labels[place]


def average(net: nn.Module, averaged: nn.Module, decay: float) -> None:
    """The examples' moving average of weights."""
    weights, averages = net.state_dict(), averaged.state_dict()
    for name in weights:
        averages[name].data.copy_(averages[name].data * decay + weights[name].data * (1 - decay))


def their_steps(made: TrainSetup, net: nn.Module, velocity: Velocity) -> Iterator[None]:
    """A step of the examples' training at each turn, of `net`, which `velocity` evaluates."""
    train = made.dataset.train
    pictures = Pictures(decode_all(train, made.preprocessing), train.labels)
    loader = DataLoader(pictures, made.recipe.batch, shuffle=True, drop_last=True)
    averaged = copy.deepcopy(net.train())
    adam = torch.optim.Adam(net.parameters(), lr=2e-4)
    rate = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: min(step, 5_000) / 5_000)
    while True:
        for images, labels in loader:
            adam.zero_grad()
            noise, t = torch.randn_like(images), torch.rand(len(images))
            time = t.reshape(-1, 1, 1, 1)
            spread = 0.0 * torch.randn_like(images)  # around the path: the matcher's sigma is 0
            x = time * images + (1 - time) * noise + spread
            loss = torch.mean((velocity(x, t, labels) - (images - noise)) ** 2)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            adam.step()
            rate.step()
            average(net, averaged, 0.9999)
            yield


def training(dataset: Dataset, recipe: Recipe, settings: Hardware, rounds: int) -> dict[str, Any]:
    made = setup_training(dataset, recipe, settings, QUIET)
    plain = made.task.build(made.network)
    height, width = made.preprocessing.canvas
    twin = diffusers_network(plain, (height // plain.fold, width // plain.fold))
    steps = {
        "skipway": our_steps(made, settings),
        "torchcfm loop, the same network": their_steps(made, plain, plain),
        "torchcfm loop, diffusers network": their_steps(made, twin, velocity_of(twin, plain.fold)),
    }
    taken = STEPS[recipe.model]
    found = measured({name: turns(one, taken) for name, one in steps.items()}, rounds, taken * made.recipe.batch)
    return {"batch": made.recipe.batch, "steps_a_round": taken, **found}


# ---------------------------------------------------------------------------------------------------------------------


def measured(candidates: dict[str, Callable[[], None]], rounds: int, images: int) -> dict[str, Any]:
    """Images a second of each side, and ours over each other's."""
    found = alternate(candidates, rounds)
    speeds = {name: round(images / row["median_s"], 2) for name, row in found.items()}
    ratios = {name: round(speeds["skipway"] / speed, 3) for name, speed in speeds.items() if name != "skipway"}
    print(speeds, ratios, flush=True)
    return {"images_per_s": speeds, "skipway_over": ratios, "seconds": found}


def print_table(found: dict[str, dict[str, dict[str, Any]]]) -> None:
    table = Table("what", "network", "side", "images/s", "skipway over it")
    for what, networks in found.items():
        for network, row in networks.items():
            for side, speed in row["images_per_s"].items():
                ratio = row["skipway_over"].get(side)
                table.add_row(what, network, side, f"{speed:.1f}", f"{ratio:.2f}" if ratio else "")
    Console(width=120).print(table)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mnist", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.manual_seed(0)
    hardware.keep_freed_memory()
    reading = ReadOptions(task="generate")
    mnist = open_dataset(str(given.mnist), reading)
    mnist = replace(mnist, train=mnist.train.take(np.arange(IMAGES)))
    datasets = {GENERATE_8: open_dataset("digits", reading), replace(GENERATE_28, channels=1): mnist}
    auto, float32 = hardware.decide("cpu"), hardware.decide("cpu", precision="float32")
    used = {str(settings.dtype).removeprefix("torch."): settings for settings in (auto, float32)}
    found: dict[str, dict[str, dict[str, Any]]] = {"sampling": {}, "training": {}}
    for recipe, dataset in datasets.items():
        for precision, settings in used.items():
            found["training"][f"{recipe.model} {precision}"] = training(dataset, recipe, settings, given.rounds)
        made = setup_training(dataset, recipe, auto, QUIET)
        found["sampling"][recipe.model] = sampling(made, auto, given.rounds)
    print_table(found)
    save(
        "generation_speed",
        {
            "what": "images a second, drawn from noise and trained on; medians of alternating turns, on the processor",
            "diffusers": diffusers.__version__,
            "rounds": given.rounds,
            "drawn": COUNT,
            "evaluations": OPTIONS.evaluations,
            **found,
        },
    )


if __name__ == "__main__":
    main()
