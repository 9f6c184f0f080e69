"""Deterministic kernels, and what they cost."""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

ROUNDS = 3


@contextmanager
def determinism(enabled: bool) -> Iterator[None]:
    """If `enabled`, a context in which torch uses deterministic kernels; the settings are restored afterwards.

    CPUs give equal digits for equal numbers of threads in any case. An operation without a deterministic kernel on a
    GPU raises RuntimeError.
    """
    before = torch.are_deterministic_algorithms_enabled()
    benchmark = torch.backends.cudnn.benchmark
    if enabled:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # required by cuBLAS
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = benchmark


def cost(step: Callable[[], None], device: torch.device) -> float:
    """The time of `step` with deterministic kernels over its time without: medians of alternating rounds."""
    seconds: dict[bool, list[float]] = {False: [], True: []}
    before = torch.are_deterministic_algorithms_enabled()
    for round_ in range(ROUNDS + 1):
        for enabled, times in seconds.items():
            torch.use_deterministic_algorithms(enabled)
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if round_:  # the first is a warm-up
                times.append(time.perf_counter() - start)
    torch.use_deterministic_algorithms(before)
    return statistics.median(seconds[True]) / statistics.median(seconds[False])
