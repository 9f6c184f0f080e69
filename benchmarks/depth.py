"""Memory and time of a training step against depth, with and without recomputed activations. results/depth.json

    python -m benchmarks.depth [--plot docs/depth.png]

Pre-activation CIFAR nets of 6n + 2 layers, batch 128; every point is a process of its own. Memory is the growth of the
process's largest resident size from before the network is built to after its last step.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib
import torch
import torch.nn.functional as F

from benchmarks.harness import save
from skipway import hardware
from skipway.commands.compare import resident
from skipway.models.activation_checkpointing import recompute_stages
from skipway.models.preresnet import FULL_A, cifar

DEPTHS = (20, 56, 110, 302, 602, 1202, 2000)
BATCH, STEPS = 128, 3


def measure(depth: int, again: bool) -> dict[str, Any]:
    """MiB of a step at `depth` layers, and seconds of each step; the first two still fetch memory from the system."""
    settings = hardware.decide(compile_="off")
    hardware.keep_freed_memory()
    warm = torch.nn.Conv2d(3, 3, 3)(torch.randn(1, 3, 8, 8))  # so that the libraries' own memory is there already
    warm.sum().backward()
    before = resident()
    net = cifar(FULL_A, (depth - 2) // 6)(classes=10)
    if again:
        recompute_stages(net)
    settings.place(net).train()
    optimiser = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9)
    images = settings.place_images(torch.randn(BATCH, 3, 32, 32))
    labels = torch.randint(10, (BATCH,))
    seconds = []
    for _ in range(STEPS):
        start = time.perf_counter()
        with settings.autocast():
            scores = net(images)
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(scores.float(), labels).backward()
        optimiser.step()
        seconds.append(round(time.perf_counter() - start, 3))
    return {"depth": depth, "recomputed": again, "mebibytes": (resident() - before) // 2**20, "seconds": seconds}


def turn(depth: int, again: bool) -> dict[str, Any]:
    """`measure` in a process of its own; without a figure where the process was killed for its memory."""
    command = [sys.executable, "-m", "benchmarks.depth", "--one", str(depth), str(int(again))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode < 0:
        return {"depth": depth, "recomputed": again, "killed": True}
    done.check_returncode()
    return dict(json.loads(done.stdout.splitlines()[-1]))


def plot(points: list[dict[str, Any]], file: Path) -> None:
    """Memory and time against depth, both axes logarithmic."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for again, colour, mark, label in (
        (False, "#b5541c", "o", "all activations kept"),
        (True, "#1f6f8b", "s", "recomputed in the backward pass"),
    ):
        shown = [p for p in points if p["recomputed"] is again and "killed" not in p]
        depths = [p["depth"] for p in shown]
        axes[0].plot(depths, [p["mebibytes"] / 1024 for p in shown], marker=mark, color=colour, label=label)
        seconds = [statistics.median(p["seconds"][2:]) for p in shown]
        axes[1].plot(depths, seconds, marker=mark, color=colour, label=label)
    for axis, title in zip(axes, ("memory of a step, GiB", "time of a step, seconds"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="layers", title=title)
        axis.set_xticks(DEPTHS, [str(d) for d in DEPTHS])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.savefig(file, dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--one", nargs=2, type=int, metavar=("DEPTH", "AGAIN"))
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one[0], bool(given.one[1]))))
        return
    points = []
    for depth in DEPTHS:
        for again in (False, True):
            points.append(turn(depth, again))
            print(points[-1], flush=True)
    what = f"a training step of pre-activation CIFAR nets at batch {BATCH}: memory, and seconds of {STEPS} steps"
    save("depth", {"what": what, "points": points})
    if given.plot:
        plot(points, given.plot)


if __name__ == "__main__":
    main()
