"""The state dicts in a file, whoever wrote it, read without running anything that the file holds.

A training script's checkpoint holds the weights beside optimisers, averages and options: every state dict is found,
wherever it lies, and what lies beside it is counted.
"""

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import safe_globals

from skipway.errors import SkipwayError, first_line

DEEPEST = 3  # dictionaries within dictionaries
USUAL = ("state_dict", "model", "model_state_dict", "net")  # where trainers keep the weights, the likeliest first
HALVES = (torch.float16, torch.bfloat16)

PATHS = [
    f"{module}.{kind}Path"
    for module in ("pathlib", "pathlib._local")
    for kind in ("Posix", "Windows", "PurePosix", "PureWindows")
]
SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype")
IGNORED = ("argparse.Namespace", *PATHS, *SCALARS)


class Ignored:
    """Stands for an object of a kind in IGNORED: options, paths and figures that checkpoints hold beside tensors.

    The object itself is not made, so that not even these kinds' own code runs on what a file says.
    """

    def __new__(cls, *_: object) -> "Ignored":
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


@dataclass(frozen=True)
class StateDict:
    """Tensors by name. entry: the keys that lead to them in their file; beside: tensors in the file's other entries."""

    entry: tuple[str, ...]
    tensors: dict[str, Tensor]
    beside: dict[str, int]


def load(file: Path) -> Any:
    """What a .safetensors, .pth, .pt, .th or .ckpt file holds. Raises SkipwayError for what cannot be read safely."""
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings(), safe_globals([(Ignored, name) for name in IGNORED]):
            warnings.simplefilter("ignore")  # on the form of a pickle: what cannot be read is refused below
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as fault:  # a damaged pickle can raise anything, and a file from outside may be damaged
        raise SkipwayError(f"{file} is not a file of weights that can be read safely: {reason(fault)}") from None


def reason(fault: Exception) -> str:
    """Why a file was refused; for a pickled object its kind, and what to do."""
    refused = re.search(r"GLOBAL (\S+) was not an allowed global", str(fault))
    if refused is None:
        return first_line(fault)
    return (
        f"besides tensors it holds a pickled {refused[1]}, which could run code; if you trust the file, load it where "
        "it was written and save its state dict alone: torch.save(model.state_dict(), 'weights.pth')"
    )


def read_state_dicts(file: Path) -> list[StateDict]:
    """Every state dict in a file of weights, the likeliest first: by the names of USUAL, then the largest.

    Half precision becomes float32. Raises SkipwayError when the file cannot be read or holds none.
    """
    content = load(file)
    found = [StateDict(entry, tensors, beside(content, entry)) for entry, tensors in named(content)]
    if not found:
        raise SkipwayError(f"{file} holds no tensors by name: give a state dict")
    return sorted(found, key=lambda s: (rank(s.entry), -len(s.tensors)))


def rank(entry: tuple[str, ...]) -> int:
    return USUAL.index(entry[0]) if entry and entry[0] in USUAL else len(USUAL)


def named(content: Any, entry: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """The dictionaries in `content` that hold tensors by name, with the keys that lead to them."""
    if not isinstance(content, dict):
        return
    words = {key: value for key, value in content.items() if isinstance(key, str)}
    tensors = {key: value.detach() for key, value in words.items() if isinstance(value, Tensor)}
    if tensors:
        yield entry, {key: value.float() if value.dtype in HALVES else value for key, value in tensors.items()}
    if len(entry) < DEEPEST:
        for key, value in words.items():
            yield from named(value, (*entry, key))


def beside(content: dict[Any, Any], entry: tuple[str, ...]) -> dict[str, int]:
    """How many tensors lie beside the state dict at `entry`, by the entry of the file that they are in."""
    if not entry:
        rest = {k: v for k, v in content.items() if not (isinstance(k, str) and isinstance(v, Tensor))}
        return {str(key): number for key, value in rest.items() if (number := count(value))}
    others = {k: number for k, v in content.items() if k != entry[0] and (number := count(v))}
    inner = {f"{entry[0]}.{key}": number for key, number in beside(content[entry[0]], entry[1:]).items()}
    return {str(key): number for key, number in (others | inner).items()}


def count(content: Any) -> int:
    """How many tensors `content` holds, at any depth."""
    number, seen, left = 0, set(), [content]
    while left:
        value = left.pop()
        if id(value) in seen:  # a pickle may hold itself
            continue
        seen.add(id(value))
        number += isinstance(value, Tensor)
        if isinstance(value, dict):
            left += value.values()
        elif isinstance(value, list | tuple | set):
            left += value
    return number
