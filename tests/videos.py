"""Videos written for tests, without loss."""

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np


def write_video(file: Path, frames: Sequence[np.ndarray], codec: str = "png", pixels: str = "rgb24") -> Path:
    """uint8 (H, W, 3) frames, five a second."""
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=5)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = pixels
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return file
