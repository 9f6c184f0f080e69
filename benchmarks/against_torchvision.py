"""Building and training our networks against torchvision's of the same name. results/against_torchvision.json

    python -m benchmarks.against_torchvision [--rounds 15] [--batch 8] [--size 224]

Ours and theirs take turns in one process, with the same settings and the same images; a step is forward, loss and
backward. The ratios are ours over theirs: below 1, ours is faster.
"""

import argparse
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from benchmarks.harness import alternate, save
from skipway import hardware, models
from skipway.hardware import Hardware

NAMES = ("resnet50", "densenet121", "vgg16")
CLASSES = 1000


def builders(name: str) -> dict[str, Callable[[], None]]:
    """Functions that build the network and drop it."""

    def ours() -> None:
        models.build(name, CLASSES)

    def theirs() -> None:
        torchvision.models.get_model(name, num_classes=CLASSES)

    return {"skipway": ours, "torchvision": theirs}


def step(net: nn.Module, settings: Hardware, images: torch.Tensor) -> Callable[[], None]:
    """A function that takes one forward and backward pass of `net` under `settings`."""
    net = settings.place(net).train()
    images = settings.place_images(images)
    labels = torch.arange(len(images), device=settings.device)

    def run() -> None:
        net.zero_grad(set_to_none=True)
        with settings.autocast():
            scores = net(images)
        F.cross_entropy(scores.float(), labels).backward()
        if settings.device.type == "cuda":
            torch.cuda.synchronize()

    return run


def steps(name: str, settings: Hardware, batch: int, size: int) -> dict[str, Callable[[], None]]:
    """Steps of both networks, from the same weights."""
    ours, theirs = models.build(name, CLASSES), torchvision.models.get_model(name, num_classes=CLASSES)
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(batch, 3, size, size)
    return {"skipway": step(ours, settings, images), "torchvision": step(theirs, settings, images)}


def compared(candidates: dict[str, Callable[[], None]], rounds: int, warm: int) -> dict[str, Any]:
    """Medians and the ratio of ours to theirs."""
    timed = alternate(candidates, rounds, warm)
    return {**timed, "ratio": round(timed["skipway"]["median_s"] / timed["torchvision"]["median_s"], 3)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    given = parser.parse_args()
    hardware.keep_freed_memory()  # as our training does; it holds for the process, so for both
    settings = {
        "float32": hardware.decide(precision="float32", channels_last="off", compile_="off"),
        "bfloat16, channels-last": hardware.decide(precision="bfloat16", channels_last="on", compile_="off"),
    }
    built, stepped = {}, {}
    for name in NAMES:
        built[name] = compared(builders(name), given.rounds, warm=1)
        print(f"building {name}: {built[name]['ratio']}", flush=True)
    for name in NAMES:
        for how, chosen in settings.items():
            key = f"{name}, {how}"
            stepped[key] = compared(steps(name, chosen, given.batch, given.size), given.rounds, warm=2)
            print(f"a step of {key}: {stepped[key]['ratio']}", flush=True)
    what = f"seconds to build, and for forward and backward of {given.batch} images of {given.size} pixels"
    save("against_torchvision", {"what": what, "rounds": given.rounds, "building": built, "steps": stepped})


if __name__ == "__main__":
    main()
