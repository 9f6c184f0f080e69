"""Data sets, preprocessing and batches. `open_dataset` opens a data set by name or path.

The formats are imported when one of these names is used: decoding an image needs none of them, nor torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skipway.data.formats.digits import open_digits
    from skipway.data.sources import FILES, KINDS, SOURCES, open_dataset

__all__ = ["FILES", "KINDS", "SOURCES", "open_dataset", "open_digits"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'skipway.data' has no attribute '{name}'")
    return getattr(import_module("skipway.data.sources"), name)
