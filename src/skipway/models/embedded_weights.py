"""The weights that come with the package, so that a network can be fine-tuned without a download.

`python -m benchmarks.pretrain DATA RUN --pack` writes them: weights.safetensors with kernels in float16, and card.json,
which says what they were trained on, how, and what they reached.
"""

import json
from importlib import resources
from pathlib import Path
from typing import Any

EMBEDDED = "embedded"  # what stands for NAME wherever weights are named
NETWORK = "resnet18d_x0_5"
NAME = f"{NETWORK}.{EMBEDDED}"


def folder() -> Path:
    """Where the package keeps them."""
    return Path(str(resources.files("skipway.models") / "embedded"))


def file() -> Path:
    return folder() / "weights.safetensors"


def card() -> dict[str, Any] | None:
    """Their card; None in an installation that comes without them."""
    written = folder() / "card.json"
    return json.loads(written.read_bytes()) if written.is_file() and file().is_file() else None
