"""Find the state dicts in a file of any origin, without executing anything in it.

A checkpoint contains the weights along with optimiser state, averages and options: all state dicts are found at any
depth, and the tensors in other entries are counted.
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

MAX_DEPTH = 3  # nesting of dictionaries
COMMON_ENTRIES = ("state_dict", "model", "model_state_dict", "net")  # common entries for the weights, most likely first
HALVES = (torch.float16, torch.bfloat16)

PATHS = [
    f"{module}.{kind}Path"
    for module in ("pathlib", "pathlib._local")
    for kind in ("Posix", "Windows", "PurePosix", "PureWindows")
]
SCALARS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype")
IGNORED = ("argparse.Namespace", *PATHS, *SCALARS)


class Ignored:
    """Placeholder for objects of the types in IGNORED: options, paths and numbers in checkpoints.

    The objects themselves are not created, so that not even the code of these types runs on a file's data.
    """

    def __new__(cls, *_: object) -> "Ignored":
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


@dataclass(frozen=True)
class StateDict:
    """Tensors by name. entry: their keys in the file; others: number of tensors in each of the file's other entries."""

    entry: tuple[str, ...]
    tensors: dict[str, Tensor]
    others: dict[str, int]


def load(file: Path) -> Any:
    """The contents of a .safetensors, .pth, .pt, .th or .ckpt file. Raises SkipwayError if not safely readable."""
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings(), safe_globals([(Ignored, name) for name in IGNORED]):
            warnings.simplefilter("ignore")  # about the pickle format: unreadable files raise below
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        raise SkipwayError(f"{file} cannot be read safely as weights: {reason(error)}") from None


def reason(error: Exception) -> str:
    """Why a file was refused; for a pickled object its type, and what to do."""
    refused = re.search(r"GLOBAL (\S+) was not an allowed global", str(error))
    if refused is None:
        return first_line(error)
    return (
        f"besides tensors it contains a pickled {refused[1]}, which could execute code; if you trust the file, load it "
        "with the code that wrote it and save only its state dict: torch.save(model.state_dict(), 'weights.pth')"
    )


def read_state_dicts(file: Path) -> list[StateDict]:
    """All state dicts in a file, most likely first: by COMMON_ENTRIES, then by size.

    Half precision is converted to float32. Raises SkipwayError if the file cannot be read or contains none.
    """
    content = load(file)
    found = [StateDict(entry, tensors, count_others(content, entry)) for entry, tensors in find_state_dicts(content)]
    if not found:
        raise SkipwayError(f"{file} contains no named tensors: give a file with a state dict")
    return sorted(found, key=lambda s: (rank(s.entry), -len(s.tensors)))


def rank(entry: tuple[str, ...]) -> int:
    return COMMON_ENTRIES.index(entry[0]) if entry and entry[0] in COMMON_ENTRIES else len(COMMON_ENTRIES)


def find_state_dicts(content: Any, entry: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """The dictionaries in `content` with named tensors, and the keys that lead to them."""
    if not isinstance(content, dict):
        return
    entries = {key: value for key, value in content.items() if isinstance(key, str)}
    tensors = {key: value.detach() for key, value in entries.items() if isinstance(value, Tensor)}
    if tensors:
        yield entry, {key: value.float() if value.dtype in HALVES else value for key, value in tensors.items()}
    if len(entry) < MAX_DEPTH:
        for key, value in entries.items():
            yield from find_state_dicts(value, (*entry, key))


def count_others(content: dict[Any, Any], entry: tuple[str, ...]) -> dict[str, int]:
    """The number of tensors outside the state dict at `entry`, by entry of the file."""
    if not entry:
        rest = {k: v for k, v in content.items() if not (isinstance(k, str) and isinstance(v, Tensor))}
        return {str(key): number for key, value in rest.items() if (number := count(value))}
    others = {k: number for k, v in content.items() if k != entry[0] and (number := count(v))}
    inner = {f"{entry[0]}.{key}": number for key, number in count_others(content[entry[0]], entry[1:]).items()}
    return {str(key): number for key, number in (others | inner).items()}


def count(content: Any) -> int:
    """The number of tensors in `content`, at any depth."""
    number, visited, pending = 0, set(), [content]
    while pending:
        value = pending.pop()
        if id(value) in visited:  # a pickle may contain itself
            continue
        visited.add(id(value))
        number += isinstance(value, Tensor)
        if isinstance(value, dict):
            pending += value.values()
        elif isinstance(value, list | tuple | set):
            pending += value
    return number
