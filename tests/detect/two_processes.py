"""What each of two processes does for test_training.py; as `python two_processes.py FOLDER LEARNT`."""

import sys
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from shapes import shapes

from skipway import hardware
from skipway.training import dataloaders, loop
from skipway.training.distributed import init_distributed
from skipway.training.recipes import DETECT_SCRATCH


def main(out: Path, learnt: str) -> None:
    """Two small steps from the weights of the run `learnt`, which find objects."""
    recipe = replace(
        DETECT_SCRATCH,
        lr=1e-5,
        model="fcos_resnet18d_x0_5_light",
        pretrained=learnt,
        size=96,
        batch=8,
        iterations=2,
        crop="none",
        average=0.0,
    )
    cpu = hardware.decide("cpu", precision="float32", workers=0)
    dataloaders.LARGE_BATCH = 2  # seven images are four batches, so that both processes have some
    with init_distributed(cpu) as (group, own):
        loop.train(shapes(16, val=7), recipe, out, own, Console(quiet=True), group=group)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
