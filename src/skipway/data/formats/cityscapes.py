"""Data sets in the layout of Cityscapes (Cordts 2016, arXiv:1604.01685): leftImg8bit/train/city/*_leftImg8bit.png and
gtFine/train/city/*_gtFine_labelIds.png or *_gtFine_labelTrainIds.png.

Of the 34 label ids, the benchmark trains and measures 19 classes; the others have no class. The masks of test are not
public, so test is not read.
"""

from collections.abc import Iterator
from pathlib import Path

from skipway.data.dataset import Dataset
from skipway.data.formats.class_table import ClassRow, ClassTable, find_class_table
from skipway.data.formats.folder import images_below, split_folders
from skipway.data.formats.mask_folders import reader_of
from skipway.data.formats.masked_images import MaskedImage, to_mask_dataset
from skipway.data.read_options import ReadOptions
from skipway.errors import DataError

IMAGES, MASKS = "leftImg8bit", "gtFine"
LABEL_IDS, TRAIN_IDS = "_gtFine_labelIds", "_gtFine_labelTrainIds"
CLASSES = {  # by label id; the training id of each is its place here
    7: "road",
    8: "sidewalk",
    11: "building",
    12: "wall",
    13: "fence",
    17: "pole",
    19: "traffic light",
    20: "traffic sign",
    21: "vegetation",
    22: "terrain",
    23: "sky",
    24: "person",
    25: "rider",
    26: "car",
    27: "truck",
    28: "bus",
    31: "train",
    32: "motorcycle",
    33: "bicycle",
}
BY_LABEL_ID = ClassTable(
    tuple(ClassRow(CLASSES.get(value, "void"), value) for value in range(34)), "the label ids of Cityscapes"
)
BY_TRAIN_ID = ClassTable(
    tuple(ClassRow(name, place) for place, name in enumerate(CLASSES.values())), "the training ids of Cityscapes"
)


def is_cityscapes(root: Path) -> bool:
    return (root / IMAGES).is_dir() and (root / MASKS).is_dir()


def files_by_scene(folder: Path, ending: str) -> dict[str, list[Path]]:
    """The files with `ending` after the name of their scene, such as aachen/aachen_000000_000019."""
    found: dict[str, list[Path]] = {}
    for path in images_below(folder) if folder.is_dir() else []:
        if path.stem.endswith(ending):
            scene = path.relative_to(folder).with_suffix("").as_posix().removesuffix(ending)
            found.setdefault(scene, []).append(path)
    return found


def images_of(root: Path, splits: dict[str, Path], ending: str) -> Iterator[MaskedImage]:
    for split, folder in splits.items():
        beside = root / MASKS / folder.name
        images, masks = files_by_scene(folder, f"_{IMAGES}"), files_by_scene(beside, ending)
        for scene in dict.fromkeys([*images, *masks]):
            found, path = masks.get(scene, []), images.get(scene, [None])[0]
            where = (found[0] if found else beside / f"{scene}{ending}.png").relative_to(root).as_posix()
            name = path.relative_to(root).as_posix() if path else where
            yield MaskedImage(split, name, path, where, reader_of(found, where))


def open_cityscapes(root: Path, reading: ReadOptions) -> Dataset:
    """The data set in the folder `root`. Raises DataError if it has no such masks."""
    if not is_cityscapes(root):
        raise DataError(f"{root} has no folders {IMAGES} and {MASKS}: give the folder that contains both")
    splits = {split: folder for split, folder in split_folders(root / IMAGES).items() if split != "test"}
    by_label = any(files_by_scene(root / MASKS / folder.name, LABEL_IDS) for folder in splits.values())
    ending, table = (LABEL_IDS, BY_LABEL_ID) if by_label else (TRAIN_IDS, BY_TRAIN_ID)
    given = find_class_table(reading.class_names, []) if reading.class_names else None
    remarks = ["test is not read: its masks are not public"] if (root / IMAGES / "test").is_dir() else []
    return to_mask_dataset(str(root), images_of(root, splits, ending), given or table, reading.ignore, remarks=remarks)
