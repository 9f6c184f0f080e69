"""Convert a predictor's inputs into items that `decode` takes: paths, bytes, arrays, tensors, Pillow's images, videos.

A Pillow image goes through the same steps as a file of it, so that both get the same answer. It is read where it is
taken, in the caller's thread: whoever hands it over may close it afterwards.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from skipway.data.dataset import Item
from skipway.data.decode import MODES, as_mode, bands, require_pixels, require_scale, translate_errors
from skipway.data.preprocess import Preprocessing
from skipway.deploy.predict.image_paths import images_of, is_pattern
from skipway.deploy.predict.video import frame_name, frames_of, is_video
from skipway.errors import DataError, SkipwayError

Picture = str | os.PathLike[str] | bytes | np.ndarray | Tensor | Image.Image
KINDS = "a path, encoded bytes, a Pillow image, a NumPy array (H, W, C) or a tensor (C, H, W)"


def names_several(place: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder's, a video's or a pattern, and not an image's."""
    path = Path(place)
    return path.is_dir() or is_video(path) or (is_pattern(str(path)) and not path.exists())


def is_one(images: object) -> bool:
    """Whether `images` is a single image."""
    if isinstance(images, str | os.PathLike):
        return not names_several(images)
    return isinstance(images, bytes | np.ndarray | Tensor | Image.Image)


def pictures_of(images: Picture | Iterable[Picture]) -> Iterator[Picture]:
    """The images of an iterable, a folder, a pattern, or a single image or video. Raises SkipwayError for anything
    else, and DataError for a folder or a pattern without images."""
    if is_one(images):
        return iter([images])  # type: ignore[list-item]
    if isinstance(images, str | os.PathLike):
        return iter(images_of([str(images)]))
    if not isinstance(images, Iterable) or hasattr(images, "read"):
        raise SkipwayError(f"an object of type {type(images).__name__} is no image: give {KINDS}, or several of them")
    return iter(images)  # type: ignore[arg-type]


def named(pictures: Iterator[Picture], preprocessing: Preprocessing) -> Iterator[tuple[str, Item | DataError]]:
    """Each image with its name, its path or "image 0", and as an item, or as the DataError that it cannot be one; of a
    video each frame, and the DataError where it ends too early.

    Raises SkipwayError for an object that is no image.
    """
    for i, picture in enumerate(pictures):
        if isinstance(picture, str | os.PathLike):
            path = Path(picture)
            shown = str(path) if not isinstance(picture, str) else picture
            if is_video(path):
                yield from named_frames(shown, preprocessing)
            else:
                yield shown, path
            continue
        name = f"image {i}"
        try:
            yield name, item_of(picture, preprocessing, name)
        except DataError as fault:
            yield name, fault


def named_frames(file: str, preprocessing: Preprocessing) -> Iterator[tuple[str, Item | DataError]]:
    """The frames of a video with their names, decoded when they are taken."""
    try:
        for number, pixels in enumerate(frames_of(Path(file))):
            yield frame_name(file, number), in_channels(pixels, preprocessing)
    except DataError as fault:
        yield file, fault


def item_of(picture: object, preprocessing: Preprocessing, name: str) -> Item:
    """An image that is no path as bytes, or as an array in the channels of `preprocessing` where it can be converted.

    Raises DataError, naming the image, where it cannot be read, SkipwayError for an object that is no image.
    """
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, Tensor):
        picture = array_of(picture, name)
    if isinstance(picture, np.ndarray):
        return in_channels(picture, preprocessing)
    if isinstance(picture, Image.Image):
        return read_picture(picture, preprocessing, name)
    raise SkipwayError(f"{name} is of type {type(picture).__name__}: give {KINDS}")


def array_of(tensor: Tensor, name: str) -> np.ndarray:
    """uint8 (C, H, W) or (H, W) as (H, W, C) or (H, W). Raises DataError for any other tensor."""
    if tensor.dtype is not torch.uint8:
        kind = str(tensor.dtype).removeprefix("torch.")
        raise DataError(f"{name} is a tensor of {kind}: uint8 is needed, from 0 to 255 and not normalised")
    if tensor.ndim not in (2, 3):
        raise DataError(f"{name} has the shape {tuple(tensor.shape)}: (channels, height, width) is needed")
    array = tensor.detach().cpu().numpy()
    return array if array.ndim == 2 else array.transpose(1, 2, 0)


def in_channels(array: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Grey, uint8 (H, W) or (H, W, 1), for a network of colour, or the other way round: as for files. Anything else is
    returned as it is."""
    held = 1 if array.ndim == 2 else array.shape[-1]
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or not array.size or held not in MODES:
        return array
    if preprocessing.channels not in MODES or preprocessing.channels == held:
        return array
    image = Image.fromarray(np.ascontiguousarray(array[:, :, 0] if array.ndim == 3 and held == 1 else array))
    return np.asarray(image.convert(MODES[preprocessing.channels]))


def read_picture(image: Image.Image, preprocessing: Preprocessing, name: str) -> np.ndarray:
    """A Pillow image, which stays as it is, as uint8 (H, W, channels): what `decode` makes of a file of it.

    Raises DataError.
    """
    channels = preprocessing.channels
    with translate_errors(name):
        require_pixels(image.width, image.height, name)
        if channels not in MODES:
            return bands(image, channels, name)
        require_scale(image, name)
        upright = ImageOps.exif_transpose(image)
        upright.format = image.format  # a copy has none, and what CMYK means depends on it
        pixels = np.array(as_mode(upright, MODES[channels], preprocessing.background))
        return pixels.reshape(*pixels.shape[:2], channels)
