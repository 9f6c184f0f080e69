"""The OpenAPI document says what the server does: schemathesis asks by it, rightly and wrongly, and compares."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import listening, picture, strict

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

KINDS = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP", "gif": "GIF", "bmp": "BMP", "tiff": "TIFF", "avif": "AVIF"}
OPERATIONS = {
    "POST /v1/predict",
    "POST /v1/explain",
    "GET /v1/model",
    "GET /metrics",
    "GET /healthz",
    "GET /readyz",
}
EXAMPLES = 8  # of each operation, valid and invalid


def images(kind: str) -> st.SearchStrategy[bytes]:
    """What an image is, which a schema cannot say."""
    return st.builds(picture, st.integers(1, 60), st.integers(1, 60), st.integers(0, 9), st.just(kind))


def ask_all(operation: Any, mode: Any, headers: dict[str, str]) -> int:
    """Ask for what schemathesis makes of an operation, and have it check each answer; returns how often."""
    asked = 0

    @settings(
        max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        nonlocal asked
        asked += 1
        case.call_and_validate(headers=headers)

    ask()
    return asked


@pytest.mark.parametrize("key", ["", "sesame"])
def test_the_server_does_what_its_schema_says(fruit: Path, key: str) -> None:
    for name, kind in KINDS.items():
        schemathesis.openapi.media_type(f"image/{name}", images(kind))
    schemathesis.openapi.media_type("application/octet-stream", images("PNG"))
    headers = {"X-API-Key": key} if key else {}
    with listening(fruit, strict(latency=60.0, body_seconds=60.0), key) as address:
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json", headers=headers)
        operations = [found.ok() for found in schema.get_all_operations()]
        assert {operation.label for operation in operations} == OPERATIONS
        for operation in operations:
            assert ask_all(operation, schemathesis.GenerationMode.POSITIVE, headers) > 0
            if operation.method == "post":
                assert ask_all(operation, schemathesis.GenerationMode.NEGATIVE, headers) > 0
