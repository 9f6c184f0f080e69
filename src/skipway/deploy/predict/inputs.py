"""Convert a predictor's inputs into items that `decode` takes: paths, bytes, arrays, tensors, Pillow's images, and the
images in videos, zip archives and TIFF files of several pages.

A Pillow image goes through the same steps as a file of it, so that both get the same answer. It is read where it is
taken, in the caller's thread: whoever hands it over may close it afterwards.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from skipway.data.dataset import Item
from skipway.data.decode import MODES
from skipway.data.preprocess import Preprocessing
from skipway.data.zip_images import ZipImages, is_zip
from skipway.deploy.predict.image_paths import images_of, is_pattern
from skipway.deploy.predict.pages import pages_in, pages_of
from skipway.deploy.predict.pictures import in_channels, read_picture
from skipway.deploy.predict.video import frame_name, frames_of, is_video
from skipway.errors import DataError, SkipwayError

Picture = str | os.PathLike[str] | bytes | np.ndarray | Tensor | Image.Image
Named = tuple[str, Item | DataError]  # an image's name, and the image or why it cannot be read
KINDS = "a path, encoded bytes, a Pillow image, a NumPy array (H, W, C) or a tensor (C, H, W)"


def names_several(place: str | os.PathLike[str], paged: bool = True) -> bool:
    """Whether a path is a folder's, a video's, an archive's, a TIFF file's of several pages, or a pattern, and not an
    image's."""
    path = Path(place)
    if is_pattern(str(path)) and not path.exists():
        return True
    return path.is_dir() or is_video(path) or is_zip(path) or (paged and pages_in(path) > 1)


def is_one(images: object, paged: bool = True) -> bool:
    """Whether `images` is a single image; `paged`: pages of a TIFF file are images, and not channels of one."""
    if isinstance(images, str | os.PathLike):
        return not names_several(images, paged)
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


def named(pictures: Iterator[Picture], preprocessing: Preprocessing, every: int = 1) -> Iterator[Named]:
    """Each image with its name, its path or "image 0", and as an item, or as the DataError that it cannot be one; of a
    video each frame whose number `every` divides, and the DataError where it ends too early; of a zip archive and a
    TIFF file each image.

    Raises SkipwayError for an object that is no image.
    """
    for i, picture in enumerate(pictures):
        if isinstance(picture, str | os.PathLike):
            path = Path(picture)
            shown = str(path) if not isinstance(picture, str) else picture
            yield from named_in(path, shown, preprocessing, every)
            continue
        name = f"image {i}"
        try:
            yield name, item_of(picture, preprocessing, name)
        except DataError as fault:
            yield name, fault


def named_in(path: Path, shown: str, preprocessing: Preprocessing, every: int) -> Iterator[Named]:
    """The images of a path, which is that of one or of several, with their names."""
    if is_video(path):
        yield from named_frames(shown, preprocessing, every)
    elif is_zip(path):
        try:
            yield from ZipImages(path)
        except DataError as fault:
            yield shown, fault
    elif preprocessing.channels in MODES and pages_in(path) > 1:
        yield from pages_of(path, shown, preprocessing)
    else:
        yield shown, path


def named_frames(file: str, preprocessing: Preprocessing, every: int = 1) -> Iterator[Named]:
    """The frames of a video with their names, decoded when they are taken."""
    try:
        for number, pixels in enumerate(frames_of(Path(file), every)):
            yield frame_name(file, number * every), in_channels(pixels, preprocessing)
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
