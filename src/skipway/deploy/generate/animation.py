"""Animations of generated images, as GIF or WebP."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from skipway.deploy.generate.pictures import as_picture
from skipway.errors import SkipwayError, refuse_if

FORMATS = {".gif": "GIF", ".webp": "WEBP"}  # by the ending of a file
FRAME = 80  # milliseconds
LAST_FRAME = 1500  # milliseconds that the last frame stays
SOFTWARE, DESCRIPTION = 0x0131, 0x010E  # tags of EXIF
OPAQUE = {"L": "RGB", "LA": "RGBA"}  # modes that WebP does not have, and in which it stores them


def require_animation(file: Path, channels: int) -> None:
    """Raises SkipwayError where images of `channels` channels cannot be an animation of the file's format."""
    if file.suffix.lower() not in FORMATS:
        raise SkipwayError(f"{file} is no animation: give a name that ends in {' or '.join(FORMATS)}")
    transparent = channels in (2, 4) and file.suffix.lower() == ".gif"
    refuse_if(transparent, f"{file}: a GIF has no partly transparent pixels", "give a name that ends in .webp")


def animation(frames: Sequence[np.ndarray], text: Mapping[str, str], ending: str) -> bytes:
    """Frames uint8 (H, W, C) as an animation that repeats, in the format of `ending`: ".gif", in at most 256 colours a
    frame, or ".webp", lossless. `text` is the comment of a GIF, as JSON, and the EXIF description of a WebP.
    """
    pictures = [as_picture(frame) for frame in frames]
    durations = [FRAME] * (len(pictures) - 1) + [LAST_FRAME]
    file, note = io.BytesIO(), json.dumps(dict(text))
    if FORMATS[ending] == "GIF":
        first, *others = pictures
        first.save(file, "GIF", save_all=True, append_images=others, duration=durations, loop=0, comment=note.encode())
        return file.getvalue()
    first, *others = [picture.convert(OPAQUE.get(picture.mode, picture.mode)) for picture in pictures]
    exif = Image.Exif()
    exif[SOFTWARE], exif[DESCRIPTION] = text.get("Software", "skipway"), note
    first.save(file, "WEBP", save_all=True, append_images=others, duration=durations, loop=0, lossless=True, exif=exif)
    return file.getvalue()
