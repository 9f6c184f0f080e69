"""What each of two processes does for training/test_distributed.py; as `python together.py FOLDER`."""

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from shapes import labelled_shapes
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

from skipway import hardware
from skipway.data import open_dataset
from skipway.data.dataset import Dataset
from skipway.data.image_targets import with_task
from skipway.training import dataloaders, hooks, loggers, loop
from skipway.training.distributed import SINGLE_PROCESS, Group, init_distributed
from skipway.training.recipes import GENERATE_8, QUICK, SEGMENT_SCRATCH, Recipe
from skipway.training.sync_batchnorm import SyncBatchNorm

FLOAT32 = hardware.decide("cpu", precision="float32", workers=0, fused_units="on")
GENTLE = replace(QUICK, model="resnet20", batch=24, lr=0.02, sync_norm=True)
RECIPES = {  # by name; each must give the losses that one process has
    "plain": replace(GENTLE, epochs=2),
    "mixed": replace(GENTLE, epochs=1, mixup=0.2, cutmix=1.0, flip=True, cutout=2, average=0.0),
    "drawn": replace(GENTLE, epochs=1, balance="sampler", optimiser="muon"),
    "generated": replace(GENERATE_8, iterations=10, batch=24, channels=1),
}
PARTS = replace(GENTLE, epochs=1, micro=4, sync_norm=False)
LABELLED = labelled_shapes(16, val=7)
SEGMENTED = replace(
    SEGMENT_SCRATCH,
    lr=2e-3,
    model="unet_resnet18d_x0_5_light",
    size=96,
    batch=8,
    iterations=4,
    crop="none",
    average=0.0,
)


def digits(task: str = "") -> Dataset:
    dataset = with_task(open_dataset("digits"), task)
    train = dataset.train
    return replace(dataset, train=train.take(np.arange(270)), test=None)


def losses(recipe: Recipe, out: Path, group: Group) -> list[float]:
    """The loss of each step of a run."""
    found: list[float] = []

    @contextlib.contextmanager
    def listing(*_given: object) -> Iterator[Any]:
        yield lambda _step, figures: found.append(figures["loss"]) if "loss" in figures else None

    logged, loggers.TRACKERS["none"], hooks.LOGGED = hooks.LOGGED, listing, 1
    task = "generate" if recipe.name == GENERATE_8.name else ""
    loop.train(digits(task), recipe, out, FLOAT32, Console(quiet=True), group=group)
    loggers.TRACKERS["none"], hooks.LOGGED = loggers.no_logger, logged
    return found


def norm_differences(group: Group) -> list[float]:
    """How far a batch norm over two processes is from one over all: outputs, gradients, statistics."""
    torch.manual_seed(0)
    whole = torch.randn(8, 3, 4, 4) * 3 + 100
    asked, share = torch.randn(8, 3, 4, 4), slice(group.rank, None, group.world)
    one, ours = nn.BatchNorm2d(3), SyncBatchNorm(3)
    x, y = whole.clone().requires_grad_(), whole[share].clone().requires_grad_()
    theirs, mine = one(x), ours(y)
    (theirs * asked).sum().backward()
    (mine * asked[share]).sum().backward()
    assert x.grad is not None and y.grad is not None and one.weight.grad is not None and ours.weight.grad is not None
    pairs = [(theirs[share], mine), (x.grad[share], y.grad), (one.running_mean, ours.running_mean)]
    pairs += [(one.running_var, ours.running_var), (one.weight.grad, group.all_reduce(ours.weight.grad))]
    return [float((a - b).abs().max() / a.abs().max()) for a, b in pairs]


def exchanges(out: Path, group: Group) -> int:
    """How many gradients' buckets were exchanged in a run of parts."""
    counted, wrap_model = [0], loop.wrap_model

    def counting(run: Any, state: Any) -> None:
        wrap_model(run, state)

        def hook(process_group, bucket):  # torch looks at annotations, and takes none or its own
            counted[0] += bucket.is_last()
            return allreduce_hook(process_group, bucket)

        state.data_parallel.register_comm_hook(None, hook)

    loop.wrap_model = counting
    loop.train(digits(), PARTS, out, FLOAT32, Console(quiet=True), group=group)
    loop.wrap_model = wrap_model
    return counted[0]


def overwritten(group: Group) -> list[Any]:
    """Tensors that differ between the processes, after those of the first were sent to all."""
    tensors = [torch.arange(3.0) + 10 * group.rank, torch.tensor(7 + group.rank)]
    group.broadcast_tensors(iter(tensors))
    return [tensor.tolist() for tensor in tensors]


def segmenter(out: Path, group: Group) -> None:
    """Leaves a run whose seven images of val are four batches, so that both processes have some."""
    usual, dataloaders.LARGE_BATCH = dataloaders.LARGE_BATCH, 2
    loop.train(LABELLED, SEGMENTED, out, FLOAT32, Console(quiet=True), group=group)
    dataloaders.LARGE_BATCH = usual


def main() -> None:
    folder = Path(sys.argv[1])
    with init_distributed(FLOAT32) as (group, _):
        assert group.world == 2
        assert group.broadcast("one" if group.rank == 0 else "other") == "one"
        assert group.any_rank(group.rank == 1, False) == [True, False]
        found: dict[str, Any] = {name: losses(recipe, folder / name, group) for name, recipe in RECIPES.items()}
        found |= {"norm": norm_differences(group), "exchanges": exchanges(folder / "parts", group)}
        found["broadcast"] = group.gather(overwritten(group))
        segmenter(folder / "segmenter", group)
    if group.rank == 0:
        (folder / "found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    assert SINGLE_PROCESS.any_rank(True, False) == [True, False]
    main()
