"""FCOS with resnet50: training beside torchvision's own loop. results/detection_speed.json

    python -m benchmarks.detection_speed BCCD [--rounds 3] [--steps 3]

Training: images a second from files to updated weights, batch 8, at equal input (256 x 320) and precision;
torchvision's side is as its references/detection: lists of images of their own size, resized by its transform, eager.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn
from torchvision.models.detection import fcos_resnet50_fpn
from torchvision.transforms.v2 import functional as tv

from benchmarks.harness import alternate, save, training_steps, turns
from skipway import hardware
from skipway.data import open_dataset
from skipway.data.box_targets import BoxTargets
from skipway.data.dataset import Dataset
from skipway.deploy.training_data import without_bad_annotations
from skipway.training.recipes import DETECT_SCRATCH

BATCH, SIZE, SHORTER = 8, 320, 240
RECIPE = replace(
    DETECT_SCRATCH, model="fcos_resnet50", size=SIZE, batch=BATCH, lr=0.005, average=0.0, crop="none", iterations=1
)


def torchvision_net() -> nn.Module:
    return fcos_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=3, min_size=SHORTER, max_size=SIZE, trainable_backbone_layers=5
    )


def torchvision_steps(dataset: Dataset, settings: hardware.Hardware) -> Iterator[None]:
    """A step of references/detection's loop at each turn: its collate, its transform, SGD."""
    net, targets = torchvision_net().train(), dataset.train.targets
    assert isinstance(targets, BoxTargets)
    sgd = torch.optim.SGD(net.parameters(), lr=0.005, momentum=0.9, weight_decay=1e-4)
    while True:
        order = torch.randperm(len(dataset.train)).tolist()
        for start in range(0, len(order) - BATCH + 1, BATCH):
            images, truth = [], []
            for place in order[start : start + BATCH]:
                with Image.open(dataset.train.items[place]) as file:  # type: ignore[arg-type]
                    image = tv.to_dtype(tv.pil_to_tensor(file.convert("RGB")), torch.float32, scale=True)
                rows = targets.rows(place)
                boxes, labels = torch.tensor(targets.boxes[rows]).float(), torch.tensor(targets.labels[rows])
                if torch.rand(()) < 0.5:
                    image, boxes = image.flip(-1), boxes[:, [2, 1, 0, 3]]
                    boxes[:, [0, 2]] = image.shape[-1] - boxes[:, [0, 2]]
                images.append(image)
                truth.append({"boxes": boxes, "labels": labels})
            with settings.autocast():
                losses = net(images, truth)
            sgd.zero_grad()
            sum(losses.values()).backward()
            sgd.step()
            yield


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("bccd", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3)
    given = parser.parse_args()
    dataset = replace(without_bad_annotations(open_dataset(str(given.bccd))), test=None)
    auto, float32 = hardware.decide(), hardware.decide(precision="float32")
    training: dict[str, Any] = {}
    for settings in dict.fromkeys((str(auto.dtype), str(float32.dtype))):
        used = auto if settings == str(auto.dtype) else float32
        pair = {"skipway": training_steps(dataset, RECIPE, used), "torchvision": torchvision_steps(dataset, used)}
        found = alternate({name: turns(steps, given.steps) for name, steps in pair.items()}, given.rounds)
        speeds = {name: round(given.steps * BATCH / row["median_s"], 2) for name, row in found.items()}
        ratio = round(speeds["skipway"] / speeds["torchvision"], 3)
        training[settings] = {"images_per_s": speeds, "ratio": ratio, "seconds": found}
        print(settings, speeds, ratio, flush=True)
    save(
        "detection_speed",
        {
            "what": "fcos_resnet50, input 256 x 320, batch 8, photographs of 640 x 480; images a second",
            "rounds": given.rounds,
            "steps_a_round": given.steps,
            "training": training,
        },
    )


if __name__ == "__main__":
    main()
