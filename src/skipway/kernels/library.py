"""The compiled kernels, if skipway was installed with them, and torch's threads for them to run on.

They are compiled with the package, as an extension module that setuptools leaves out where it cannot be compiled. It
is a plain shared library, which needs neither Python's nor torch's headers, and is called through ctypes.
"""

import ctypes
from collections.abc import Callable
from ctypes import POINTER, c_double, c_int, c_int64, c_void_p
from dataclasses import dataclass
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import torch

NAME = "_batch_norm"  # as in pyproject.toml
LEVELS = ("no vector instructions in particular", "AVX2", "AVX-512")


class Threads(ctypes.Structure):
    """Functions of the OpenMP runtime that torch uses: a second one would start as many threads again."""

    _fields_ = (("parallel", c_void_p), ("number", c_void_p), ("count", c_void_p))


@dataclass(frozen=True)
class Kernels:
    """The functions of batch_norm.cpp; `level`: the index in LEVELS of the best that this processor has."""

    forward: Callable[..., int]
    backward: Callable[..., int]
    threads: Threads
    level: int


def library_file() -> Path | None:
    """The compiled library; None where it was not compiled."""
    files = (Path(__file__).with_name(NAME + suffix) for suffix in EXTENSION_SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def threads_of_torch() -> Threads | None:
    """None where torch's threads are not OpenMP's, or cannot be reached."""
    libraries = sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*"))
    try:
        runtime = ctypes.CDLL(str(libraries[0]))  # it is loaded; symbols are found in what it depends on, too
        found = (runtime.GOMP_parallel, runtime.omp_get_thread_num, runtime.omp_get_num_threads)
    except (AttributeError, IndexError, OSError):
        return None
    return Threads(*(ctypes.cast(function, c_void_p) for function in found))


@cache
def load() -> tuple[Kernels | None, str]:
    """The kernels and what they use, or None and why there are none."""
    file = library_file()
    if file is None:
        return None, "they were not compiled: install a C++ compiler, then skipway again"
    threads = threads_of_torch()
    if threads is None:
        return None, "this build of torch has threads that they cannot use"
    try:
        library = ctypes.CDLL(str(file))
        forward, backward, level = library.batch_norm_relu, library.batch_norm_relu_backward, library.vector_level()
    except (AttributeError, OSError):
        return None, f"{file.name} cannot be loaded: install skipway again"
    common: list[Any] = [POINTER(Threads), c_int, c_int, c_int, c_int64, c_int64]
    forward.argtypes = [*common, *[c_void_p] * 7, c_double, c_double, c_void_p]
    backward.argtypes = [*common, *[c_void_p] * 8]
    return Kernels(forward, backward, threads, level), f"compiled, with {LEVELS[level]}"
