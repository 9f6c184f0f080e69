"""Fuzzing that stays: the same few examples in each run of the suite; FUZZ_EXAMPLES=10000 tries as many new ones.

FUZZ_COUNTS names a file in which the counts of all inputs are left, for benchmarks/fuzz.py.
"""

import json
import os
from pathlib import Path

from hypothesis import HealthCheck, settings

from tests.fuzz.changes import COUNTS

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "suite", max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=SLOW
)
settings.register_profile(
    "long", max_examples=max(EXAMPLES, 1), database=None, deadline=None, suppress_health_check=SLOW
)
settings.load_profile("long" if EXAMPLES else "suite")


def pytest_sessionfinish() -> None:
    if file := os.environ.get("FUZZ_COUNTS"):
        Path(file).write_text(json.dumps(COUNTS))
