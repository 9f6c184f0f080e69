"""The speed of every engine on this machine: `skipway bench`."""

import os

from skipway.commands.arguments import Folder, resolve_hardware
from skipway.deploy.benchmark import BenchmarkResult, benchmark_engines
from skipway.deploy.engines.base import Notify, ignore_message
from skipway.hardware import Hardware


def benchmark(
    network: Folder, seconds: float = 1.0, hardware: Hardware | None = None, notify: Notify = ignore_message
) -> BenchmarkResult:
    """Throughput and latency of every engine for `network`, the folder of a bundle or a network's name.

    seconds: to measure each engine for, at least. notify: called with a line for each. Raises SkipwayError.
    """
    return benchmark_engines(os.fspath(network), resolve_hardware(hardware), notify, seconds)
