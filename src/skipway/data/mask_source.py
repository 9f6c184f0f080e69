"""Where the label map of an image is read from, and its values: an image file, encoded bytes, an array, or objects.

The value of a pixel is its grey value or palette index, from 0 to MAX_VALUE; in masks that are coloured, 0xRRGGBB.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval.core import mask as coco_mask
from PIL import Image, ImageOps

from skipway.data.decode import DECODE_ERRORS, is_array, open_array, open_image, require_file
from skipway.errors import DataError, first_line

MAX_VALUE = 65535  # of a mask with 16 bits
ONE_CHANNEL = ("1", "L", "P", "I", "I;16", "I;16L", "I;16B")


class MaskError(Exception):
    """Why a mask cannot be used, without its name."""


@dataclass(frozen=True)
class ObjectMasks:
    """The objects of an image on a background of the value 0: `size`, height and width; `values`, one for each object;
    `masks`, their COCO run-length encodings. Later objects lie on top of earlier ones."""

    size: tuple[int, int]
    values: tuple[int, ...]
    masks: tuple[dict[str, Any], ...]

    def drawn(self) -> np.ndarray:
        """int32 (H, W)."""
        canvas = np.zeros(self.size, dtype=np.int32)
        for value, mask in zip(self.values, self.masks, strict=True):
            canvas[coco_mask.decode(mask).astype(bool)] = value
        return canvas


@dataclass(frozen=True)
class StoredMask:
    """An encoded mask that a reader, such as that of a parquet file, returns for a position."""

    reader: Callable[[int], bytes]
    place: int


MaskSource = Path | bytes | np.ndarray | ObjectMasks | StoredMask


def packed(colours: np.ndarray) -> np.ndarray:
    """uint8 (..., 3) as int32 (...), 0xRRGGBB."""
    wide = colours.astype(np.int32)
    return wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]


def values_of_array(array: np.ndarray) -> np.ndarray:
    """Integers (H, W) or (H, W, 1) as (H, W). Raises MaskError for anything else, and for values out of range."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 or not array.size:
        raise MaskError(f"it has the shape {array.shape}, and a mask is (height, width)")
    if array.dtype.kind not in "bui":
        raise MaskError(f"it has dtype {array.dtype}, and a mask has integers")
    if array.dtype.itemsize > 1 and (array.min() < 0 or array.max() > MAX_VALUE):
        raise MaskError(f"it has values from {array.min()} to {array.max()}, and a mask has 0 to {MAX_VALUE}")
    return array.astype(np.int32) if array.dtype != np.uint8 else np.asarray(array)


def colours_of_image(image: Image.Image) -> np.ndarray:
    """uint8 (H, W, 3) of an image in colour, or of one channel by its palette. Raises MaskError for transparency."""
    if image.mode.startswith("I") or image.mode == "F":
        raise MaskError(f"it has no colours but values of another kind ({image.mode})")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise MaskError("it has transparent pixels, whose class is not known")
    return np.asarray(image.convert("RGB"))


def values_of_image(image: Image.Image, coloured: bool) -> np.ndarray:
    """The values of an opened image, uint8 or int32 (H, W). Raises MaskError and what Pillow raises."""
    if image.format in ("JPEG", "MPO"):
        raise MaskError("it is a JPEG, which changes the values of pixels: save masks as PNG")
    if getattr(image, "n_frames", 1) > 1:
        raise MaskError(f"it has {image.n_frames} frames, and a mask has one")  # type: ignore[attr-defined]
    image = ImageOps.exif_transpose(image)
    if coloured:
        return packed(colours_of_image(image))
    if image.mode == "1":
        return np.asarray(image.convert("L"))  # 0 and 255, as in every program that shows it
    if image.mode in ONE_CHANNEL:
        return values_of_array(np.asarray(image))
    if image.mode not in ("RGB", "RGBA", "LA", "PA"):
        raise MaskError(f"it has channels of the kind {image.mode}, and a mask has one channel or colours")
    colours = colours_of_image(image)
    if (colours != colours[:, :, :1]).any():
        raise MaskError("it has several channels: name its colours in a table, one `red green blue name` a line")
    return colours[:, :, 0]


def read_values(source: MaskSource, coloured: bool) -> np.ndarray:
    """The values of a mask, uint8 or int32 (H, W), as stored. Raises MaskError."""
    if isinstance(source, ObjectMasks):
        return source.drawn()
    if isinstance(source, np.ndarray):
        return values_of_array(source)
    try:
        if isinstance(source, StoredMask):
            source = source.reader(source.place)
        if isinstance(source, Path):
            require_file(source, "it")
        if not (source.stat().st_size if isinstance(source, Path) else source):
            raise MaskError("it has no bytes")
        if is_array(source):
            if coloured:
                raise MaskError("it is an array, and the classes are given by colours")
            return values_of_array(open_array(source))
        with open_image(source, "it") as image:
            return values_of_image(image, coloured)
    except FileNotFoundError:
        raise MaskError("it does not exist") from None
    except PermissionError:
        raise MaskError("it cannot be read for lack of permission") from None
    except DataError as error:
        raise MaskError(str(error).rpartition(": ")[0] or str(error)) from None
    except DECODE_ERRORS as error:
        raise MaskError(f"it is not an image that can be read ({first_line(error)})") from None


def count_values(values: np.ndarray) -> dict[int, int]:
    """The pixels of each value, by rising value: of runs of equal values, of which masks have few."""
    flat = values.ravel()
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(np.concatenate([starts, [flat.size]]))
    found, which = np.unique(flat[starts], return_inverse=True)
    counts = np.bincount(which, weights=lengths).astype(np.int64)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))
