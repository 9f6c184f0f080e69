"""Deterministic kernels for the duration of a run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
