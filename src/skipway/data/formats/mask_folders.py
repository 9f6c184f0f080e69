"""Data sets of images and masks of the same names: in two folders, or in one with a suffix for the masks.

Two folders are images/ and masks/ (or img/ and ann/, or other usual names), in train, val and test folders or with
these inside them; or train/ and trainannot/, or train_images/ and train_masks/. A mask of x.jpg is x.png, x_mask.png,
or x with another of ENDINGS.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from skipway.data.dataset import Dataset
from skipway.data.formats.class_table import find_class_table
from skipway.data.formats.folder import SPLITS, class_folders, images_below, split_folders
from skipway.data.formats.image_size import ImageSize
from skipway.data.formats.masked_images import MaskedImage, given_mask, no_mask, to_mask_dataset
from skipway.data.mask_source import MaskSource
from skipway.data.read_options import ReadOptions
from skipway.errors import DataError

IMAGES = re.compile(r"(jpeg)?images?|imgs?|photos?|pictures?|rgb|inputs?", re.IGNORECASE)
MASKS = re.compile(
    r"((image|img)s?[_-]?)?(masks?|labels?|label_?maps?|ann|anns|annots?|annotations?|gt|ground_?truth|segmentations?"
    r"|segmentation_?(class|masks?|maps?)(png)?|targets?)",
    re.IGNORECASE,
)
SPLIT_IMAGES = re.compile(r"|[_-]?(images?|imgs?)", re.IGNORECASE)  # after a split's name
SPLIT_MASKS = re.compile(r"[_-]?(annots?|annotations?|masks?|labels?|gt|segmentations?)", re.IGNORECASE)
WITHOUT = r"(^|[\s_-])(no|non|not|un|without)[\s_-]*"  # before a word in the name of a folder
ENDINGS = (  # of a mask's name after that of its image, the more specific first
    "_labelTrainIds",
    "_labelIds",
    "_segmentation",
    "_annotation",
    "_labels",
    "_label",
    "_masks",
    "_mask",
    "_seg",
    "_gt",
    "_L",
    "-mask",
    "-label",
    ".mask",
)


class FolderPair(NamedTuple):
    """The folders of a split's images and masks; the same twice where the masks' names have a suffix."""

    split: str
    images: Path
    masks: Path


class Listing(NamedTuple):
    """The files of a folder pair by name without suffix, relative to the folders. Of masks also without ENDINGS."""

    images: dict[str, list[Path]]
    masks: dict[str, list[Path]]


def by_stem(folder: Path) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in images_below(folder):
        found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), []).append(path)
    return found


def list_pair(pair: FolderPair) -> Listing:
    """The images and masks of a pair of folders; in one folder, the masks are the files with one of ENDINGS after the
    name of another."""
    images, files = by_stem(pair.images), by_stem(pair.masks)
    masks: dict[str, list[Path]] = {}
    for stem, paths in files.items():
        ending = next((end for end in ENDINGS if stem.endswith(end) and stem[: -len(end)] in images), "")
        if ending or pair.images != pair.masks:
            masks.setdefault(stem.removesuffix(ending), []).extend(paths)
    if pair.images == pair.masks:
        used = {path for paths in masks.values() for path in paths}
        images = {stem: kept for stem, paths in images.items() if (kept := [p for p in paths if p not in used])}
    return Listing(images, masks)


def pair_in(place: Path) -> tuple[Path, Path] | None:
    """The folders of images and of masks in `place`, by their names; None if there are not exactly these, and for the
    classes mask and no_mask, or the like."""
    folders = class_folders(place)
    masks = [folder for folder in folders if MASKS.fullmatch(folder.name)]
    images = [folder for folder in folders if IMAGES.fullmatch(folder.name)]
    if not images and len(folders) == 2 and len(masks) == 1:
        word = re.escape(masks[0].name.lower().removesuffix("s"))
        others = [folder for folder in folders if folder not in masks]
        images = [folder for folder in others if not re.search(WITHOUT + word, folder.name.lower())]
    return (images[0], masks[0]) if len(images) == len(masks) == 1 else None


def split_images(place: Path) -> Iterator[tuple[str, Path]]:
    """The folders in `place` that are called as those of a split's images, such as test or test_images."""
    for folder in class_folders(place):
        for split, words in SPLITS.items():
            rest = next(
                (folder.name[len(word) :] for word in words[::-1] if folder.name.lower().startswith(word)), None
            )
            if rest is not None and SPLIT_IMAGES.fullmatch(rest):
                yield split, folder


def stands_alone(place: Path) -> bool:
    """Whether `place` has no images beside its folders of images and of masks, except in those of a split."""
    found = (*(pair_in(place) or ()), *(folder for _, folder in split_images(place)))
    return not any(images_below(folder) for folder in class_folders(place) if folder not in found)


def pairs_beside_splits(root: Path) -> list[FolderPair]:
    """Such as train and trainannot, or train_images and train_masks."""
    folders, pairs = class_folders(root), []
    for split, words in SPLITS.items():
        for word in words:
            after = {folder: folder.name[len(word) :] for folder in folders if folder.name.lower().startswith(word)}
            images = [folder for folder, rest in after.items() if SPLIT_IMAGES.fullmatch(rest)]
            masks = [folder for folder, rest in after.items() if SPLIT_MASKS.fullmatch(rest)]
            if len(images) == len(masks) == 1:
                pairs.append(FolderPair(split, images[0], masks[0]))
    return pairs


def pairs_inside_splits(root: Path) -> list[FolderPair]:
    """Such as train/images and train/masks; and a split's folder without folders, in which masks have a suffix."""
    pairs = []
    for split, place in split_folders(root).items():
        found = pair_in(place)
        if found:
            pairs.append(FolderPair(split, *found))
        elif not class_folders(place):
            pairs.append(FolderPair(split, place, place))
    return pairs


def pairs_around_splits(root: Path) -> list[FolderPair]:
    """Such as images/train and masks/train; or images and masks without splits, which are for training."""
    found = pair_in(root)
    if found is None:
        return []
    inside = [split_folders(folder) for folder in found]
    if not inside[0]:
        return [FolderPair("train", *found)]
    return [FolderPair(split, folder, inside[1][split]) for split, folder in inside[0].items() if split in inside[1]]


def folder_pairs(root: Path) -> list[FolderPair]:
    """The folders of images and masks in `root`, or `root` itself twice if it has only files, without splits that have
    no masks; empty if there are none."""
    for pairs in (pairs_beside_splits(root), pairs_inside_splits(root), pairs_around_splits(root)):
        found = [pair for pair in pairs if list_pair(pair).masks]
        if found:
            return found
    alone = FolderPair("train", root, root)
    return [alone] if not class_folders(root) and list_pair(alone).masks else []


def left_out(root: Path, pairs: Sequence[FolderPair]) -> list[str]:
    """What to say of the splits of `root` that have images but no masks, as those of a test often are not public."""
    found, splits = pair_in(root), {pair.split for pair in pairs}
    said = []
    for place in (root, *found[:1]) if found else (root,):
        for split, folder in split_images(place):
            count = len(images_below(folder)) if split not in splits else 0
            if count:
                said.append(f"{folder.relative_to(root)} is left out: it has {count:,} images and no masks")
    return said


def images_of(pair: FolderPair, root: Path) -> Iterator[MaskedImage]:
    """The images of a pair of folders, and an entry for each mask without an image."""
    images, masks = list_pair(pair)
    for stem, paths in images.items():
        found = masks.get(stem, [])
        for path in paths:
            where = (found[0] if found else pair.masks / stem).relative_to(root).as_posix()
            yield MaskedImage(pair.split, path.relative_to(root).as_posix(), path, where, reader_of(found, where))
    for stem, paths in masks.items():
        if stem not in images:
            where = paths[0].relative_to(root).as_posix()
            yield MaskedImage(pair.split, where, None, where, reader_of(paths, where))


def reader_of(found: Sequence[Path], where: str) -> Callable[[ImageSize | None], MaskSource]:
    if len(found) == 1:
        return given_mask(found[0])
    return no_mask(where, f"there are {len(found)} masks of that name" if found else "there is no mask of that name")


def open_semantic(root: Path, reading: ReadOptions) -> Dataset:
    """The data set in the folder `root`. Raises DataError if it has no such folders, or if no mask has the name of an
    image."""
    pairs = folder_pairs(root)
    if not pairs:
        raise DataError(
            f"{root} has no folders of images and of masks: name them images and masks, or name the mask of x.jpg "
            f"x_mask.png, or choose another --format"
        )
    if "train" not in {pair.split for pair in pairs}:
        raise DataError(f"{root} has masks for {', '.join(pair.split for pair in pairs)} but not for train: add some")
    listings = [list_pair(pair) for pair in pairs]
    if not any(listing.images.keys() & listing.masks.keys() for listing in listings):
        image = next((name for listing in listings for name in listing.images), "none")
        mask = next((name for listing in listings for name in listing.masks), "none")
        raise DataError(
            f"{root} has no mask of the name of an image, such as image {image} and mask {mask}: the mask of x.jpg is "
            f"x.png or x_mask.png"
        )
    beside = [place for pair in pairs for place in (pair.masks, pair.masks.parent, pair.images)]
    places = dict.fromkeys([root, *(place for place in beside if place.is_relative_to(root))])
    table = find_class_table(reading.class_names, list(places))
    images = (image for pair in pairs for image in images_of(pair, root))
    return to_mask_dataset(str(root), images, table, reading.ignore, remarks=left_out(root, pairs))
