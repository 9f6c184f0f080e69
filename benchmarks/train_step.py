"""Training steps against the same networks from torchvision: time and memory. results/train_step.json

    python -m benchmarks.train_step [--rounds 5]

Each turn is forward, loss, backward and an SGD update of one batch of random images that is in memory already, at
float32 and at our precision. Memory is the peak of the process, Python and libraries included.
"""

import argparse
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from benchmarks.harness import alternate, save
from skipway import hardware, models
from skipway.hardware import Hardware
from skipway.training.fused_units import fuse_units

STEPS = 3
KEEPS_MEMORY = "torchvision channels-last bfloat16, freed memory kept"
CANDIDATES = ("skipway", "torchvision float32", "torchvision channels-last bfloat16", KEEPS_MEMORY)
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
    if settings.fused_units:
        fuse_units(net)
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


def measure(case: str, candidate: str) -> tuple[float, float]:
    """Median seconds of a step, in this process, after two that do not count, and the process's peak memory in GiB."""
    name, stem, size, batch = CASES[case]
    if candidate in ("skipway", KEEPS_MEMORY):
        hardware.keep_freed_memory()  # as our training does
    if candidate == "skipway":
        step = steps(models.build(name, 10, stem=stem), hardware.decide(), size, batch)
    elif candidate == "torchvision float32":
        plain = hardware.decide(precision="float32", channels_last="off", compile_="off", fused_units="off")
        step = steps(torchvision_net(name, stem), plain, size, batch)
    else:
        fast = hardware.decide(precision="bfloat16", channels_last="on", compile_="off", fused_units="off")
        step = steps(torchvision_net(name, stem), fast, size, batch)
    timed = alternate({candidate: step}, STEPS, warm=2)
    return float(timed[candidate]["median_s"]), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def turn(case: str, candidate: str) -> tuple[float, float]:
    """`measure` in a process of its own, whose memory the other candidates do not shape."""
    command = [sys.executable, "-m", "benchmarks.train_step", "--one", case, candidate]
    seconds, memory = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-2:]
    return float(seconds), float(memory)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("CASE", "CANDIDATE"))
    given = parser.parse_args()
    if given.one:
        print(*measure(*given.one))
        return
    cases = {}
    for case, (_, _, _, batch) in CASES.items():
        seconds: dict[str, list[float]] = {name: [] for name in CANDIDATES}
        memory: dict[str, list[float]] = {name: [] for name in CANDIDATES}
        for _ in range(given.rounds):
            for name in CANDIDATES:
                taken, peak = turn(case, name)
                seconds[name].append(round(taken, 5))
                memory[name].append(round(peak, 3))
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        rows = {
            name: {"median_s": medians[name], "all_s": values, "images_per_s": round(batch / medians[name], 2)}
            | {"peak_gib": statistics.median(memory[name])}
            for name, values in seconds.items()
        }
        ratios = {f"over {k}": round(v / medians["skipway"], 3) for k, v in medians.items() if k != "skipway"}
        cases[case] = {**rows, "ratios": ratios}
        print(case, ratios, flush=True)
    what = f"training images per second; each turn a process, its figure the median of {STEPS} steps"
    save("train_step", {"what": what, "rounds": given.rounds, "cases": cases})


if __name__ == "__main__":
    main()
