"""OpenVINO's Core, of which a process has one and never lets go.

Its plugin for processors gives the thread that loads it a stack for signals, and frees this when it is unloaded, by
whatever thread that is. If it is another one, the first keeps a stack that is no more, and the next signal that Python
handles there ends the process: with torch's loaders, which watch for it, the end of any child (OpenVINO 2026.4).
"""

from functools import cache
from typing import Any


@cache
def core() -> Any:
    """The ov.Core. Raises ImportError without openvino."""
    import openvino

    return openvino.Core()
