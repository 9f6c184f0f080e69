"""Weights included in the package, so that a network can be fine-tuned without a download.

`python -m benchmarks.pretrain DATA RUN --pack` writes them: weights.safetensors with kernels in float16, and card.json
with the training data, the recipe and the accuracy.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Any

EMBEDDED = "embedded"  # alias of NAME wherever weights are named
NETWORK = "resnet18d_x0_5"
NAME = f"{NETWORK}.{EMBEDDED}"


def folder() -> Path:
    """The folder of the embedded weights."""
    return Path(str(resources.files("skipway.models.pretrained.embedded")))


def file() -> Path:
    return folder() / "weights.safetensors"


def card() -> dict[str, Any] | None:
    """The card of the embedded weights; None in an installation without them."""
    path = folder() / "card.json"
    return json.loads(path.read_bytes()) if path.is_file() and file().is_file() else None
