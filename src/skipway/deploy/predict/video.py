"""Frames of video files as images, one at a time, decoded by PyAV (FFmpeg), the extra `video`.

A frame is called by its video and its number from 0, as in "clip.mp4#12".
"""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from skipway.errors import DataError

SUFFIXES = frozenset({".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv"})
INSTALL = "pip install 'skipway[video]'"
FRAME = re.compile(r"(?P<file>.+)#(?P<number>\d+)", re.DOTALL)
NUMBERED = re.compile(r"(?P<file>.+\.\w+)#(?P<number>\d+)", re.DOTALL)  # a frame, or a page


def is_video(path: Path) -> bool:
    """Whether a path has the ending of a video."""
    return path.suffix.lower() in SUFFIXES


def frame_name(file: str, number: int) -> str:
    return f"{file}#{number}"


def frame_of(name: str) -> tuple[Path, int] | None:
    """The video and the number of the frame called `name`; None for the name of any other image."""
    found = FRAME.fullmatch(name)
    if found is None or not is_video(Path(found["file"])):
        return None
    return Path(found["file"]), int(found["number"])


def stem_of(name: str) -> str:
    """The name of an image's file without folder and ending; for a frame or a page with its number: clip-000012."""
    frame = NUMBERED.fullmatch(name)
    return Path(name).stem if frame is None else f"{Path(frame['file']).stem}-{int(frame['number']):06d}"


def frames_of(file: Path, every: int = 1) -> Iterator[np.ndarray]:
    """The frames of a video's first stream of pictures in the order in which they are shown, uint8 RGB (H, W, 3),
    upright, those alone whose number `every` divides; one is decoded at a time.

    Raises DataError, naming the file, where it is missing, has no pictures or is damaged, after the frames before the
    damage, and without PyAV.
    """
    if find_spec("av") is None:
        raise DataError(f"{file} is a video, and its decoder is not installed: {INSTALL}")
    import av

    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise DataError(f"{file} has no pictures: give a video")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"  # of the codec: frames or slices
            for frame in islice(container.decode(stream), 0, None, every):
                yield upright(frame)
    except av.FFmpegError as fault:
        raise DataError(f"{file} cannot be read as a video ({fault.strerror})") from None


def upright(frame: Any) -> np.ndarray:
    """The pixels of a frame, turned as its display matrix says."""
    pixels = frame.to_ndarray(format="rgb24")
    turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(pixels, turns)) if turns else pixels


class FrameReader:
    """Frames by name, for names of one video after the other in the order of their numbers: each is decoded once."""

    def __init__(self) -> None:
        self.file, self.next = Path(), 0
        self.frames: Iterator[np.ndarray] = iter(())

    def read(self, name: str) -> np.ndarray | None:
        """The frame called `name`; None for the name of any other image. Raises DataError as `frames_of`."""
        wanted = frame_of(name)
        if wanted is None:
            return None
        file, number = wanted
        if file != self.file or number < self.next:
            self.file, self.frames, self.next = file, frames_of(file), 0
        for pixels in self.frames:
            self.next += 1
            if self.next > number:
                return pixels
        raise DataError(f"{file} has no frame {number}")
