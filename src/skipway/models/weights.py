"""Pretrained weights: torchvision's by tag, or a file of one's own.

Foreign `.pth` and `.th` files are read with `weights_only`, which executes nothing that they hold.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor

from skipway.errors import SkipwayError, UnknownNameError
from skipway.models.contract import Network

TAGS = {"tv_v1": "IMAGENET1K_V1", "tv_v2": "IMAGENET1K_V2"}


@dataclass(frozen=True)
class Pretrained:
    """Weights by name; `resize` is the shorter side, in pixels, that they are judged at (None: unknown)."""

    weights: dict[str, Tensor]
    resize: int | None = None

    def stem(self) -> str | None:
        """The stem that the weights were trained with, told by its convolution's side; None when they have no conv1."""
        first = self.weights.get("conv1.weight")
        return None if first is None else {7: "imagenet", 3: "small"}.get(first.shape[-1])


def read_file(file: Path) -> dict[str, Tensor]:
    """The tensors in a .safetensors, .pth, .pt or .th file; "state_dict" and "module." wrappings are taken off."""
    try:
        if file.suffix == ".safetensors":
            found: Any = load_file(file)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on the form of a pickle: what cannot be read is refused below
                found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as fault:  # a damaged pickle can raise anything, and a file from outside may be damaged
        reason = (str(fault).strip() or type(fault).__name__).splitlines()[0]
        raise SkipwayError(f"{file} is not a file of weights that can be read safely: {reason}") from None
    found = found.get("state_dict", found) if isinstance(found, dict) else {}
    named = found.items() if isinstance(found, dict) else ()
    tensors = {k.removeprefix("module."): v for k, v in named if isinstance(k, str) and isinstance(v, Tensor)}
    if not tensors:
        raise SkipwayError(f"{file} holds no tensors by name: give a state dict")
    return tensors


def find(model: str, pretrained: str) -> Pretrained:
    """`pretrained` for `model`: a tag of TAGS (downloaded once, checksum verified), a bundle's folder, or a file."""
    path = Path(pretrained)
    if path.is_dir() and (path / "weights.safetensors").is_file():
        path /= "weights.safetensors"
    if path.is_file():
        return Pretrained(read_file(path))
    if pretrained not in TAGS:
        raise UnknownNameError(
            "weights", pretrained, TAGS, f"one of {', '.join(TAGS)}, or a file or bundle that exists"
        )
    try:
        choices = torchvision.models.get_model_weights(model)
        weights = choices[TAGS[pretrained]]
    except (ValueError, KeyError):
        raise SkipwayError(
            f"there are no {pretrained} weights of {model}: choose another --model or --pretrained"
        ) from None
    try:
        state = weights.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as fault:
        reason = str(fault).splitlines()[0]
        raise SkipwayError(
            f"cannot download {weights.url} ({reason}): go online, or give a file of weights as --pretrained"
        ) from None
    return Pretrained(state, weights.transforms().resize_size[0])


def load_all_but_head(net: Network, weights: dict[str, Tensor], name: str) -> list[str]:
    """Load `weights` into `net`; a classifier of another number of classes stays fresh. Returns the names left out.

    Raises SkipwayError when anything else is missing, unexpected or of another shape.
    """
    own = net.state_dict()
    head = tuple(f"{name}." for name in net.heads)
    other = [k for k, v in weights.items() if k.startswith(head) and (k not in own or own[k].shape != v.shape)]
    weights = {k: v for k, v in weights.items() if k not in other}
    missing = [k for k in own if k not in weights and not (other and k.startswith(head))]
    missing = [k for k in missing if not k.endswith("num_batches_tracked")]  # which older files do not have
    strange = [k for k in weights if k not in own or own[k].shape != weights[k].shape]
    if missing or strange:
        raise SkipwayError(
            f"the weights do not fit {name}: {len(missing)} missing ({', '.join(missing[:3])}), "
            f"{len(strange)} unexpected or of another shape ({', '.join(strange[:3])})"
        )
    net.load_state_dict(weights, strict=False)
    return other
