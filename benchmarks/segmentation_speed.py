"""U-Net and DeepLabv3 beside segmentation_models_pytorch and torchvision. results/segmentation_speed.json

    python -m benchmarks.segmentation_speed CAMVID [--rounds 3] [--steps 3]

network: a training step, forward, loss and backward, on the same batch: our unet_resnet18 beside smp's Unet with
resnet18, our deeplabv3_resnet50 beside torchvision's, equal in parameters and input.
training: images a second from files to updated weights, on 192-pixel crops of images jittered from 0.5 to 2 in scale;
the other side is the loop of torchvision's references/segmentation (Pillow, its v2 transforms, a DataLoader with as
many workers as ours has), with the networks above.
prediction: images a second from files to label maps at the images' own size: `auto` and eager beside the usual script,
eager, one image at a time as well as in batches of 8, the better of which counts.
Needs segmentation_models_pytorch, which the package does not depend on.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
import torchvision
from PIL import Image
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms import v2
from torchvision.tv_tensors import Image as ImageTensor
from torchvision.tv_tensors import Mask

import skipway
from benchmarks.harness import alternate, save, training_steps, turns
from benchmarks.segmentation import CLASSES, VOID
from skipway import hardware, models
from skipway.data import open_dataset
from skipway.data.dataset import Dataset, Split
from skipway.data.mask_targets import IGNORE, MaskTargets
from skipway.data.preprocess import IMAGENET_MEAN, IMAGENET_STD
from skipway.data.read_options import ReadOptions
from skipway.hardware import Hardware
from skipway.training.recipes import SEGMENT_SCRATCH

COUNT, CROP, BATCH = 11, 192, 8
LONGER = 480


def theirs(name: str) -> nn.Module:
    """The network that a user would take instead, with equal parameters."""
    if name == "unet_resnet18":
        return smp.Unet("resnet18", encoder_weights=None, classes=COUNT)
    return torchvision.models.segmentation.deeplabv3_resnet50(
        weights=None, weights_backbone=None, num_classes=COUNT, aux_loss=True
    )


def scores_of(outputs: Any) -> list[Tensor]:
    """Main and auxiliary scores of either side's outputs."""
    if isinstance(outputs, dict):
        return list(outputs.values())
    if isinstance(outputs, Tensor):
        return [outputs]
    return [outputs.scores, *outputs.auxiliary]


def loss_of(outputs: Any, labels: Tensor) -> Tensor:
    losses = [functional.cross_entropy(scores.float(), labels, ignore_index=IGNORE) for scores in scores_of(outputs)]
    return losses[0] + 0.4 * sum(losses[1:])


def network_step(net: nn.Module, settings: Hardware) -> Callable[[], None]:
    """Forward, loss and backward on a batch that is already there."""
    net = settings.place(net).train()
    images = settings.place_images(torch.randn(4, 3, 256, 256))
    labels = torch.randint(COUNT, (4, 256, 256))

    def run() -> None:
        net.zero_grad(set_to_none=True)
        with settings.autocast():
            outputs = net(images)
        loss_of(outputs, labels).backward()

    return run


# ---------------------------------------------------------------------------------------------------------------------
# Training, from files to updated weights


def our_steps(dataset: Dataset, model: str, settings: Hardware) -> Iterator[None]:
    """A step of the package's training at each turn."""
    recipe = replace(SEGMENT_SCRATCH, model=model, size=LONGER, crop_size=CROP, batch=BATCH, average=0.0, iterations=1)
    return training_steps(dataset, recipe, settings)


class Files(TorchDataset):
    """Images and masks opened by Pillow and transformed as in torchvision's references/segmentation."""

    def __init__(self, split: Split) -> None:
        assert isinstance(split.targets, MaskTargets)
        self.images, self.masks = list(split.items), list(split.targets.masks)
        self.transform = v2.Compose(
            [
                v2.RandomResize(360 // 2, 360 * 2),
                v2.RandomHorizontalFlip(0.5),
                v2.RandomCrop(CROP, pad_if_needed=True, fill={ImageTensor: 0, Mask: IGNORE}),
                v2.ToDtype({ImageTensor: torch.float32, Mask: torch.int64, "others": None}, scale=True),
                v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: int) -> tuple[Tensor, Tensor]:
        with Image.open(self.images[place]) as image, Image.open(self.masks[place]) as mask:
            labels = torch.from_numpy(np.array(mask))
            labels[labels == int(VOID)] = IGNORE
            return self.transform(v2.functional.to_image(image.convert("RGB")), Mask(labels))


def their_steps(dataset: Dataset, model: str, settings: Hardware) -> Iterator[None]:
    """A step of the usual loop at each turn."""
    net = settings.place(theirs(model)).train()
    adam = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01)
    # photographs that fit into memory are read by our own process on a processor, without workers
    loader = DataLoader(Files(dataset.train), BATCH, shuffle=True, drop_last=True)
    while True:
        for images, labels in loader:
            with settings.autocast():
                outputs = net(settings.place_images(images))
            adam.zero_grad(set_to_none=True)
            loss_of(outputs, labels).backward()
            adam.step()
            yield


# ---------------------------------------------------------------------------------------------------------------------
# Prediction, from files to label maps


def our_labels(run: Path, files: list[Path], engine: str) -> Callable[[], None]:
    predictor = skipway.Predictor(run, engine=engine, sample=files[:16])

    def labels() -> None:
        for prediction in predictor.predict(files):
            assert not prediction.error

    return labels


def their_labels(net: nn.Module, files: list[Path], batch: int) -> Callable[[], None]:
    """The usual script: Pillow, torch, eager, float32."""
    net = net.eval()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))

    @torch.inference_mode()
    def labels() -> None:
        for start in range(0, len(files), batch):
            images = []
            for file in files[start : start + batch]:
                with Image.open(file) as image:
                    pixels = v2.functional.to_image(image.convert("RGB"))
                # smp's networks refuse sides that are not multiples of 32: padded, as its users do
                beyond = (0, -pixels.shape[2] % 32, 0, -pixels.shape[1] % 32)
                images.append(functional.pad((pixels / 255 - mean) / std, beyond))
            scores_of(net(torch.stack(images)))[0].argmax(1).to(torch.uint8)

    return labels


def measured(pair: dict[str, Callable[[], None]], rounds: int, images: int) -> dict[str, Any]:
    """Images a second of each side, and ours over each other's."""
    found = alternate(pair, rounds)
    speeds = {name: round(images / row["median_s"], 2) for name, row in found.items()}
    ratios = {name: round(speeds["skipway"] / speed, 3) for name, speed in speeds.items() if name != "skipway"}
    print(speeds, ratios, flush=True)
    return {"images_per_s": speeds, "skipway_over": ratios, "seconds": found}


def prediction(dataset: Dataset, model: str, rounds: int, count: int) -> dict[str, Any]:
    """With random weights, which take as long as others; equal on both sides in shape alone."""
    files = [Path(str(item)) for item in dataset.split("val").items][:count]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        short = replace(SEGMENT_SCRATCH, model=model, size=LONGER, crop_size=CROP, batch=BATCH, iterations=1)
        some = replace(dataset, val=dataset.split("val").take(np.arange(2)))
        skipway.train(some, short, run, console=Console(quiet=True), bad=None)
        pair = {"skipway": our_labels(run, files, "auto"), "skipway eager": our_labels(run, files, "eager")}
        pair |= {f"usual script, batch {n}": their_labels(theirs(model), files, n) for n in (1, 8)}
        return measured(pair, rounds, len(files))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    given = parser.parse_args()
    dataset = open_dataset(str(given.camvid), ReadOptions(ignore=VOID, class_names=CLASSES))
    auto, float32 = hardware.decide(), hardware.decide(precision="float32")
    used = {str(settings.dtype): settings for settings in (auto, float32)}
    found: dict[str, Any] = {"network": {}, "training": {}, "prediction": {}}
    for model in ("unet_resnet18", "deeplabv3_resnet50"):
        both = theirs(model), models.create_segmenter(model, COUNT)
        counts = [sum(p.numel() for p in net.parameters()) for net in both]
        assert counts[0] == counts[1], counts
        for precision, settings in used.items():
            pair = {"skipway": network_step(models.create_segmenter(model, COUNT), settings)}
            pair["other"] = network_step(theirs(model), settings)
            found["network"][f"{model} {precision}"] = measured(pair, given.rounds, 4)
            steps = {"skipway": our_steps(dataset, model, settings), "other": their_steps(dataset, model, settings)}
            pair = {name: turns(one, given.steps) for name, one in steps.items()}
            found["training"][f"{model} {precision}"] = measured(pair, given.rounds, given.steps * BATCH)
    found["prediction"]["unet_resnet18"] = prediction(dataset, "unet_resnet18", given.rounds, 24)
    save(
        "segmentation_speed",
        {
            "what": "images a second; other: segmentation_models_pytorch for U-Net, torchvision for DeepLabv3",
            "smp": smp.__version__,
            "rounds": given.rounds,
            "steps_a_round": given.steps,
            **found,
        },
    )


if __name__ == "__main__":
    main()
