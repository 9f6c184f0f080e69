"""Only kernels that give the same digits each time, and what that costs."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

ROUNDS = 3


@contextmanager
def determinism(wanted: bool) -> Iterator[None]:
    """If `wanted`, a context in which torch takes deterministic kernels; afterwards all is as it was.

    Processors give equal digits for equal numbers of threads in any case. An operation that has no such kernel on a
    GPU raises RuntimeError.
    """
    before = torch.are_deterministic_algorithms_enabled()
    tuned = torch.backends.cudnn.benchmark
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what cuBLAS asks for
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = tuned


def cost(step: Callable[[], None], device: torch.device) -> float:
    """The time of `step` under `determinism` over its time without: medians of alternating turns."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    was = torch.are_deterministic_algorithms_enabled()
    for turn in range(ROUNDS + 1):
        for wanted, taken in seconds.items():
            torch.use_deterministic_algorithms(wanted)
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:  # the first warms up
                taken.append(time.perf_counter() - start)
    torch.use_deterministic_algorithms(was)
    return statistics.median(seconds[True]) / statistics.median(seconds[False])
