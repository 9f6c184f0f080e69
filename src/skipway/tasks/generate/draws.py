"""Random numbers of generated images, each image's from its seed and number alone.

They are NumPy's, on the CPU: torch's depend on the device, and on a CPU's vector instructions.
"""

from collections.abc import Callable, Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from skipway.data.loader import derive_seed
from skipway.errors import refuse_if

LAST_SEED = 2**63 - 1


class Draw(IntEnum):
    """What random numbers are for; those of one seed and image differ between purposes."""

    NOISE = 1
    INPAINTING = 2
    POSTERIOR = 3
    DEQUANTISATION = 4
    PROBES = 5


def draws(kind: Draw, *key: int) -> np.random.Generator:
    """A generator of random numbers that follow from `kind` and `key`."""
    return np.random.default_rng(derive_seed(kind, *key))


def normal(kind: Draw, seed: int, indices: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Standard normal numbers float32 (n, *shape) on the CPU, each row's from `seed` and its index alone."""
    return normals(kind, seed, indices, shape)()


def normals(kind: Draw, seed: int, indices: Sequence[int], shape: tuple[int, ...]) -> Callable[[], Tensor]:
    """A function whose calls give other numbers each time, the first those of `normal`. Raises SkipwayError."""
    refuse_if(not 0 <= seed <= LAST_SEED, f"seed {seed}", "give 0 to 2^63 - 1")
    refuse_if(min(indices, default=0) < 0, f"image {min(indices, default=0)}", "images are numbered from 0")
    generators = [draws(kind, seed, index) for index in indices]

    def draw() -> Tensor:
        return torch.from_numpy(np.stack([each.standard_normal(shape, dtype=np.float32) for each in generators]))

    return draw
