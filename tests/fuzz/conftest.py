"""Fuzzing that stays: the same few examples in each run of the suite; FUZZ_EXAMPLES=10000 tries as many new ones."""

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]

settings.register_profile(
    "suite", max_examples=40, derandomize=True, database=None, deadline=None, suppress_health_check=SLOW
)
settings.register_profile(
    "long", max_examples=max(EXAMPLES, 1), database=None, deadline=None, suppress_health_check=SLOW
)
settings.load_profile("long" if EXAMPLES else "suite")
