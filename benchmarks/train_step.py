"""Training steps against the same networks from torchvision, at float32 and at our precision. results/train_step.json

    python -m benchmarks.train_step [--rounds 5]

Each turn is forward, loss, backward and an SGD update of one batch of random images that is in memory already.
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from benchmarks.harness import alternate, save
from skipway import hardware, models
from skipway.hardware import Hardware

CASES = {"resnet18, small stem, 32 pixels, batch 128": ("resnet18", "small", 32, 128)}
CASES |= {"resnet50, 224 pixels, batch 32": ("resnet50", "imagenet", 224, 32)}


def torchvision_net(name: str, stem: str) -> nn.Module:
    """torchvision's network; for the small stem, changed as everybody changes it for CIFAR."""
    net = torchvision.models.get_model(name, num_classes=10)
    if stem == "small":
        net.conv1, net.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return net


def steps(net: nn.Module, settings: Hardware, size: int, batch: int) -> Callable[[], None]:
    """A function that takes one training step of `net` under `settings`."""
    net = settings.place(net)
    optimiser = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    images = settings.place_images(torch.randn(batch, 3, size, size))
    labels = torch.randint(10, (batch,), device=settings.device)

    def step() -> None:
        with settings.autocast():
            scores = net(images)
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(scores.float(), labels).backward()
        optimiser.step()
        if settings.device.type == "cuda":
            torch.cuda.synchronize()

    return step


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    ours = hardware.decide()
    plain = hardware.decide(precision="float32", channels_last="off", compile_="off")
    fast = hardware.decide(precision="bfloat16", channels_last="on", compile_="off")
    cases = {}
    for case, (name, stem, size, batch) in CASES.items():
        turns = {
            "skipway": steps(models.build(name, 10, stem=stem), ours, size, batch),
            "torchvision float32": steps(torchvision_net(name, stem), plain, size, batch),
            "torchvision channels-last bfloat16": steps(torchvision_net(name, stem), fast, size, batch),
        }
        timed = alternate(turns, rounds)
        base = timed["skipway"]["median_s"]
        rates = {k: {**v, "images_per_s": round(batch / v["median_s"], 2)} for k, v in timed.items()}
        ratios = {f"over {k}": round(v["median_s"] / base, 3) for k, v in timed.items() if k != "skipway"}
        cases[case] = {**rates, "ratios": ratios}
        print(case, ratios, flush=True)
    save(
        "train_step",
        {"what": "training images per second, medians of alternating steps", "rounds": rounds, "cases": cases},
    )


if __name__ == "__main__":
    main()
