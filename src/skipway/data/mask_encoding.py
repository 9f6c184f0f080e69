"""How the values of masks become class indices."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skipway.data.mask_source import MaskError

IGNORE = 255  # the label of pixels that are neither learnt nor counted
MAX_CLASSES = 255
BACKGROUND = "background"
SHOWN = 3  # values of a wrong mask that a message names


@dataclass(frozen=True)
class MaskEncoding:
    """values: those that masks may have, rising; labels: the class index of each, or IGNORE; coloured: whether values
    are colours, 0xRRGGBB; description: for people, what the values are and where they are from."""

    values: tuple[int, ...]
    labels: tuple[int, ...]
    coloured: bool = False
    description: str = ""

    @cached_property
    def keys(self) -> np.ndarray:
        return np.array(self.values, dtype=np.int32)

    @property
    def ignored(self) -> tuple[int, ...]:
        """The values that are not learnt."""
        return tuple(value for value, label in zip(self.values, self.labels, strict=True) if label == IGNORE)

    def shown(self, value: int) -> str:
        """A value as people write it."""
        return f"({value >> 16}, {value >> 8 & 255}, {value & 255})" if self.coloured else str(value)

    def require_known(self, counts: dict[int, int]) -> None:
        """Raises MaskError, naming them, for values without a class; `counts`: the pixels of each value."""
        known = set(self.values)
        unknown = [value for value in counts if value not in known]
        if unknown:
            first = ", ".join(f"{self.shown(value)} ({counts[value]:,} pixels)" for value in unknown[:SHOWN])
            more = f" and {len(unknown) - SHOWN:,} more" if len(unknown) > SHOWN else ""
            kind = "colours" if self.coloured else "values"
            raise MaskError(f"no class has its {kind} {first}{more}")

    def pixels(self, counts: dict[int, int], classes: int) -> np.ndarray:
        """int64 (classes + 1,), the pixels of each class, and last those of IGNORE."""
        pixels = np.zeros(classes + 1, dtype=np.int64)
        label_of = dict(zip(self.values, self.labels, strict=True))
        for value, count in counts.items():
            label = label_of[value]
            pixels[classes if label == IGNORE else label] += count
        return pixels

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Values (H, W) as labels uint8 (H, W). Raises MaskError for a value without a class."""
        labels = np.array(self.labels, dtype=np.int16)
        if self.coloured:
            places = np.searchsorted(self.keys, values).clip(max=len(self.keys) - 1)
            found = np.where(self.keys[places] == values, labels[places], -1)
        else:
            table = np.full(max(self.values[-1], int(values.max())) + 1, -1, dtype=np.int16)
            table[self.keys] = labels
            found = table[values]
        if found.min() < 0:
            raise MaskError("it has values without a class")
        return found.astype(np.uint8)


def plain_encoding(classes: int) -> MaskEncoding:
    """The encoding of masks whose values are the labels."""
    return MaskEncoding((*range(classes), IGNORE), (*range(classes), IGNORE))
