"""Images with masks, as the formats list them, verified and made into a data set with `MaskTargets`.

Every mask is read once: its size must be that of its image, and its values those of classes. Classes are those of the
training masks, or those of a table, so that they have the same numbers in every split. An image whose mask is wrong is
in no split, and is listed in `Dataset.bad_annotations`.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from skipway.data.dataset import Dataset, Split
from skipway.data.formats.annotated_images import AnnotationError
from skipway.data.formats.class_table import ClassTable
from skipway.data.formats.image_size import ImageSize, read_size
from skipway.data.formats.mask_recognition import are_colours, recognise
from skipway.data.lazy_images import LazyImages
from skipway.data.mask_encoding import MaskEncoding
from skipway.data.mask_source import MaskError, MaskSource, StoredMask, count_values, read_values
from skipway.data.mask_targets import MARK, MaskTargets, mark_of
from skipway.errors import DataError, printable
from skipway.hardware import available_cores


@dataclass(frozen=True)
class MaskedImage:
    """An image of a split: its name; its file or where it is stored, None if it does not exist; where its mask is, for
    messages; and `read`, which returns the mask for the image's size. `read` raises AnnotationError."""

    split: str
    name: str
    image: Path | StoredMask | None
    where: str
    read: Callable[[ImageSize | None], MaskSource]


@dataclass(frozen=True)
class ReadMask:
    """A mask that has been read: the size of its upright image, the EXIF orientation that it is turned by, the pixels
    of each of its values, and its digest."""

    listed: MaskedImage
    source: MaskSource
    size: tuple[int, int]
    turned: int
    counts: dict[int, int]
    mark: np.ndarray


def given_mask(path: Path | StoredMask) -> Callable[[ImageSize | None], MaskSource]:
    """For a `MaskedImage` whose mask does not depend on its image."""
    return lambda size: path


def no_mask(where: str, what: str) -> Callable[[ImageSize | None], MaskSource]:
    """For a `MaskedImage` without a usable mask, `what` it is."""

    def refuse(size: ImageSize | None) -> MaskSource:
        raise AnnotationError("missing mask", where, what)

    return refuse


def size_of(listed: MaskedImage) -> ImageSize | None:
    """The size of an image by its header; None if it cannot be read. Raises AnnotationError if there is no image."""
    if listed.image is None:
        raise AnnotationError("missing image", listed.where, "there is no image for this mask")
    if isinstance(listed.image, Path):
        return read_size(listed.image)
    try:
        return read_size(listed.image.reader(listed.image.place))
    except DataError:
        return None


def orientation_for(shape: tuple[int, ...], size: ImageSize, where: str) -> int:
    """The orientation that a mask of this shape is turned by: none if it has the size of the upright image, that of the
    image if it has the size of the stored pixels. Raises AnnotationError for any other size."""
    height, width = shape
    if (width, height) == (size.width, size.height):
        return 1
    if (width, height) == size.stored:
        return size.orientation
    what = f"the mask has {width} x {height} pixels, and the image {size.width} x {size.height}"
    raise AnnotationError("size mismatch", where, what)


def read_mask(listed: MaskedImage, coloured: bool) -> ReadMask:
    """The mask of an image; if the image's header cannot be read, it is not compared with it, and the check reports the
    image as it does any unreadable one. Raises AnnotationError."""
    size = size_of(listed)
    source = listed.read(size)
    try:
        values = read_values(source, coloured)
    except (MaskError, DataError) as error:
        raise AnnotationError("invalid annotation", listed.where, str(error)) from None
    size = size or ImageSize(values.shape[1], values.shape[0])
    turned = orientation_for(values.shape, size, listed.where)
    return ReadMask(listed, source, (size.height, size.width), turned, count_values(values), mark_of(values))


Bad = tuple[str, str, str]  # split, image's name, "category: reason"


def by_name(images: Iterable[MaskedImage]) -> tuple[list[MaskedImage], list[Bad]]:
    """The images by split and name, and those that are listed twice, of which nothing is used."""
    listed: dict[tuple[str, str], list[MaskedImage]] = {}
    for image in images:
        listed.setdefault((image.split, image.name), []).append(image)
    once, bad = [], []
    for (split, name), entries in sorted(listed.items(), key=lambda pair: pair[0]):
        if len(entries) == 1:
            once.append(entries[0])
        else:
            why = AnnotationError("image listed twice", entries[1].where, f"{name} was listed before")
            bad.append((split, printable(name), str(why)))
    return once, bad


@contextmanager
def quiet() -> Iterator[None]:
    """Without Pillow's warnings about damaged tags; for the whole process, because threads share the filters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_all(images: Sequence[MaskedImage], coloured: bool) -> tuple[list[ReadMask], list[Bad]]:
    """The masks that can be read, and why the others cannot; in threads, since decoders release the GIL."""

    def attempt(listed: MaskedImage) -> ReadMask | Bad:
        try:
            return read_mask(listed, coloured)
        except AnnotationError as error:
            return listed.split, printable(listed.name), str(error)

    with quiet(), ThreadPoolExecutor(available_cores()) as pool:
        results = list(pool.map(attempt, images))
    return [one for one in results if isinstance(one, ReadMask)], [one for one in results if isinstance(one, tuple)]


def sources_of(images: Iterable[MaskedImage]) -> Iterable[MaskSource]:
    """The masks of a sample of images; of those without, nothing."""
    for listed in images:
        try:
            yield listed.read(size_of(listed))
        except AnnotationError:
            continue


def verify(read: ReadMask, encoding: MaskEncoding) -> Bad | None:
    """Why a mask does not fit the encoding; None if it does."""
    listed = read.listed
    try:
        encoding.require_known(read.counts)
        if set(read.counts) <= set(encoding.ignored):
            raise AnnotationError("nothing labelled", listed.where, "all of its pixels are ignored")
    except MaskError as error:
        return (
            listed.split,
            printable(listed.name),
            str(AnnotationError("unknown mask value", listed.where, str(error))),
        )
    except AnnotationError as error:
        return listed.split, printable(listed.name), str(error)
    return None


def to_split(masks: Sequence[ReadMask], classes: int, encoding: MaskEncoding, stored: LazyImages | None) -> Split:
    """A split of sound masks; its images are those of `stored`, if they are not files."""
    targets = MaskTargets(
        [one.source for one in masks],
        encoding,
        np.array([one.size for one in masks], dtype=np.int64).reshape(-1, 2),
        np.array([encoding.pixels(one.counts, classes) for one in masks], dtype=np.int64).reshape(-1, classes + 1),
        np.array([one.turned for one in masks], dtype=np.int64),
        np.array([one.mark for one in masks], dtype=np.uint8).reshape(-1, MARK),
        np.arange(256, dtype=np.uint8),
    )
    images = [one.listed.image for one in masks]
    files = [image for image in images if isinstance(image, Path)]
    places = np.array([image.place for image in images if isinstance(image, StoredMask)], dtype=np.int64)
    return Split(files if stored is None else stored[places], targets, [one.listed.name for one in masks])


def to_mask_dataset(
    name: str,
    images: Iterable[MaskedImage],
    table: ClassTable | None,
    ignore: str,
    faults: Iterable[Bad] = (),
    stored: Mapping[str, LazyImages] | None = None,
    remarks: Sequence[str] = (),
) -> Dataset:
    """The data set `name`.

    table: its classes, None if the values name them; ignore: the option; faults: images that could not even be listed;
    stored: the images by split, if they are not files; remarks: what else to say of how it was read. Raises DataError
    if there are no images at all, and as `recognise` does.
    """
    listed, bad = by_name(images)
    with quiet():
        coloured = are_colours(table, sources_of(sorted(listed, key=lambda one: one.split != "train")))
    read, found = read_all(listed, coloured)
    bad = [*faults, *bad, *found]
    if not read and not bad:
        raise DataError(f"{name} has no images with masks: put masks of the images' names beside them")
    learnt = [one for one in read if one.listed.split == "train"] or read
    values = {value for one in read for value in one.counts}
    classes, encoding = recognise(name, [one.counts for one in learnt], values, coloured, table, ignore)
    sound: dict[str, list[ReadMask]] = {}
    for one in read:
        why = verify(one, encoding)
        if why is None:
            sound.setdefault(one.listed.split, []).append(one)
        else:
            bad.append(why)
    keys = dict.fromkeys(["train", *sound, *(split for split, _, _ in bad)])
    splits = {
        key: to_split(sound.get(key, ()), len(classes), encoding, None if stored is None else stored.get(key))
        for key in keys
    }
    said = (*remarks, encoding.description)
    parts = (splits["train"], splits.get("val"), splits.get("test"))
    return Dataset(name, classes, *parts, bad_annotations=tuple(bad), remarks=said)
