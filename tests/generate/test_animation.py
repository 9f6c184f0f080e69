"""Animations of generated images: their frames, how long each stays, and their text."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from skipway.deploy.generate.animation import FRAME, LAST_FRAME, animation, require_animation
from skipway.errors import SkipwayError

TEXT = {"Software": "skipway 1", "class": "猫", "seed": "3"}


def frames_of(content: bytes) -> tuple[list[Image.Image], list[int]]:
    """Every frame, and its milliseconds."""
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.info["loop"] == 0
        found = [(frame.copy(), frame.info["duration"]) for frame in ImageSequence.Iterator(opened)]
    return [frame for frame, _ in found], [duration for _, duration in found]


def noise(channels: int, count: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (12, 9, channels), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize(("channels", "mode"), [(1, "RGB"), (3, "RGB"), (4, "RGBA")])
def test_a_webp_has_the_very_pixels_of_every_frame(channels: int, mode: str) -> None:
    drawn = noise(channels)
    if channels == 4:
        for frame in drawn:
            frame[..., 3] |= 1  # what is entirely transparent has no colour
    frames, _ = frames_of(animation(drawn, TEXT, ".webp"))
    assert len(frames) == 5
    for frame, pixels in zip(frames, drawn, strict=True):
        wanted = pixels.repeat(3, 2) if channels == 1 else pixels
        assert np.array_equal(np.asarray(frame.convert(mode)), wanted)


def test_a_gif_of_grey_images_has_the_very_pixels() -> None:
    drawn = noise(1)
    frames, _ = frames_of(animation(drawn, TEXT, ".gif"))
    assert len(frames) == 5
    for frame, pixels in zip(frames, drawn, strict=True):
        assert np.array_equal(np.asarray(frame.convert("L")), pixels[..., 0])


def test_a_gif_of_few_colours_has_the_very_pixels() -> None:
    drawn = [frame // 128 * 255 for frame in noise(3)]
    frames, _ = frames_of(animation(drawn, TEXT, ".gif"))
    for frame, pixels in zip(frames, drawn, strict=True):
        assert np.array_equal(np.asarray(frame.convert("RGB")), pixels)


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_the_last_frame_stays_longest(ending: str) -> None:
    _, durations = frames_of(animation(noise(3), TEXT, ending))
    assert durations == [FRAME] * 4 + [LAST_FRAME]


def test_the_text_is_in_the_file() -> None:
    with Image.open(io.BytesIO(animation(noise(3), TEXT, ".gif"))) as opened:
        assert json.loads(opened.info["comment"]) == TEXT
    with Image.open(io.BytesIO(animation(noise(3), TEXT, ".webp"))) as opened:
        exif = opened.getexif()
        assert exif[0x0131] == "skipway 1"
        assert json.loads(exif[0x010E]) == TEXT


def test_formats_that_cannot_hold_the_images_are_refused() -> None:
    require_animation(Path("a.WEBP"), 4)
    require_animation(Path("a.gif"), 3)
    with pytest.raises(SkipwayError, match=r"a.gif: a GIF has no partly transparent pixels: .*\.webp"):
        require_animation(Path("a.gif"), 4)
    with pytest.raises(SkipwayError, match=r"a.mp4 is no animation: give a name that ends in .gif or .webp"):
        require_animation(Path("a.mp4"), 3)
