"""Images with label maps, and small writers of them in every format."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from skipway.data.dataset import Dataset
from skipway.data.formats.cityscapes import CLASSES as CITYSCAPES
from skipway.data.mask_targets import MaskTargets
from skipway.reporting.palette import palette

CLASSES = ("background", "road", "tree", "car")
COLOURS = np.array([(0, 0, 0), (128, 64, 128), (107, 142, 35), (0, 0, 142)], np.uint8)


class Scene(NamedTuple):
    """An image without suffix, its split, its label map, uint8 (H, W), and its objects: label, left, top, right and
    bottom in pixels, the larger first."""

    stem: str
    split: str
    labels: np.ndarray
    objects: Sequence[tuple[int, int, int, int, int]]


def scenes(images: int = 12, seed: int = 0) -> list[Scene]:
    """Images of up to 4 rectangles on a background, smaller ones on top; every third is for val."""
    rng, found = np.random.default_rng(seed), []
    for i in range(images):
        width, height = int(rng.integers(30, 60)), int(rng.integers(30, 60))
        objects = []
        for _ in range(1 + i % 4):
            left, top = int(rng.integers(0, width - 12)), int(rng.integers(0, height - 12))
            right, bottom = int(rng.integers(left + 5, width + 1)), int(rng.integers(top + 5, height + 1))
            objects.append((int(rng.integers(1, 4)), left, top, right, bottom))
        objects.sort(key=lambda one: -(one[3] - one[1]) * (one[4] - one[2]))
        labels = np.zeros((height, width), np.uint8)
        for label, left, top, right, bottom in objects:
            labels[top:bottom, left:right] = label
        found.append(Scene(f"im{i:02}", "val" if i % 3 == 2 else "train", labels, objects))
    return found


def write_image(one: Scene, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(int(one.stem[2:]))
    Image.fromarray(rng.integers(0, 256, (*one.labels.shape, 3), dtype=np.uint8)).save(file)


def write_mask(values: np.ndarray, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(file)


def write_names(root: Path, name: str = "classes.txt", lines: Sequence[str] = CLASSES) -> None:
    (root / name).write_text("\n".join(lines) + "\n")


def write_pairs(pictures: Sequence[Scene], root: Path, image: str, mask: str) -> Path:
    """Images and masks at paths in which {split} and {stem} are replaced."""
    for one in pictures:
        write_image(one, root / image.format(split=one.split, stem=one.stem))
        write_mask(one.labels, root / mask.format(split=one.split, stem=one.stem))
    write_names(root)
    return root


def write_folders(pictures: Sequence[Scene], root: Path) -> Path:
    return write_pairs(pictures, root, "images/{stem}.png", "masks/{stem}.png")


def write_palette(pictures: Sequence[Scene], root: Path) -> Path:
    write_folders(pictures, root)
    for one in pictures:
        image = Image.fromarray(one.labels)
        image.putpalette(palette(256).tobytes())  # which makes it an image of palette indices
        image.save(root / "masks" / f"{one.stem}.png")
    return root


def write_colours(pictures: Sequence[Scene], root: Path, table: str = "label_colors.txt") -> Path:
    write_folders(pictures, root)
    (root / "classes.txt").unlink()
    for one in pictures:
        write_mask(COLOURS[one.labels], root / "masks" / f"{one.stem}.png")
    rows = zip(COLOURS.tolist(), CLASSES, strict=True)
    if table == "labelmap.txt":
        write_names(root, table, ["# label:color_rgb:parts:actions", *(f"{n}:{r},{g},{b}::" for (r, g, b), n in rows)])
    elif table == "classes.json":
        (root / table).write_text(json.dumps({name: colour for colour, name in rows}))
    elif table == "class_dict.csv":
        write_names(root, table, ["name,r,g,b", *(f"{n},{r},{g},{b}" for (r, g, b), n in rows)])
    else:
        write_names(root, table, [f"{r} {g} {b}\t{n}" for (r, g, b), n in rows])
    return root


def write_sixteen_bits(pictures: Sequence[Scene], root: Path) -> Path:
    write_folders(pictures, root)
    for one in pictures:
        write_mask(one.labels.astype(np.uint16) * 1000, root / "masks" / f"{one.stem}.png")
    write_names(root, "classes.txt", [f"{1000 * i} {name}" for i, name in enumerate(CLASSES)])
    return root


def write_arrays(pictures: Sequence[Scene], root: Path) -> Path:
    write_folders(pictures, root)
    for one in pictures:
        (root / "masks" / f"{one.stem}.png").unlink()
        np.save(root / "masks" / f"{one.stem}.npy", one.labels.astype(np.int64))
    return root


def write_table(pictures: Sequence[Scene], root: Path) -> Path:
    write_pairs(pictures, root, "a/{stem}.png", "b/{stem}_x.png")
    lines = [f"a/{one.stem}.png,b/{one.stem}_x.png,{one.split}" for one in pictures]
    (root / "pairs.csv").write_text("\n".join(["image,mask,split", *lines]))
    return root / "pairs.csv"


def write_parquet(pictures: Sequence[Scene], root: Path) -> Path:
    write_folders(pictures, root)
    for split in ("train", "val"):
        chosen = [one for one in pictures if one.split == split]
        columns = {
            name: [
                {"bytes": (root / folder / f"{one.stem}.png").read_bytes(), "path": f"{one.stem}.png"} for one in chosen
            ]
            for name, folder in (("image", "images"), ("label", "masks"))
        }
        (root / "parquet").mkdir(exist_ok=True)
        pq.write_table(pa.table(columns), root / "parquet" / f"{split}-0.parquet", row_group_size=3)
    write_names(root / "parquet")
    return root / "parquet"


def write_voc(pictures: Sequence[Scene], root: Path) -> Path:
    write_pairs(pictures, root, "JPEGImages/{stem}.png", "SegmentationClass/{stem}.png")
    (root / "ImageSets" / "Segmentation").mkdir(parents=True)
    for split in ("train", "val"):
        stems = [one.stem for one in pictures if one.split == split]
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(stems))
    return root


def polygon(left: int, top: int, right: int, bottom: int) -> list[int]:
    return [left, top, right, top, right, bottom, left, bottom]


def write_coco(pictures: Sequence[Scene], root: Path) -> Path:
    """The smallest objects first in the file."""
    (root / "annotations").mkdir(parents=True)
    for split in ("train", "val"):
        chosen = [one for one in pictures if one.split == split]
        content: dict[str, list[dict[str, object]]] = {
            "images": [],
            "annotations": [],
            "categories": [{"id": 5 * i, "name": name} for i, name in reversed(list(enumerate(CLASSES))) if i],
        }
        for number, one in enumerate(chosen):
            write_image(one, root / split / f"{one.stem}.png")
            height, width = one.labels.shape
            content["images"].append({"id": number, "file_name": f"{one.stem}.png", "width": width, "height": height})
            for label, left, top, right, bottom in reversed(one.objects):
                shape = {"bbox": [left, top, right - left, bottom - top], "iscrowd": 0, "category_id": 5 * label}
                shape |= {"segmentation": [polygon(left, top, right, bottom)], "image_id": number}
                content["annotations"].append({"id": len(content["annotations"])} | shape)
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def write_cityscapes(pictures: Sequence[Scene], root: Path) -> Path:
    ids = np.array(list(CITYSCAPES)[: len(CLASSES)], np.uint8)
    for one in pictures:
        write_image(one, root / "leftImg8bit" / one.split / "aachen" / f"{one.stem}_leftImg8bit.png")
        file = root / "gtFine" / one.split / "aachen" / f"{one.stem}_gtFine_labelIds.png"
        write_mask(ids[one.labels], file)
    return root


WRITERS: dict[str, Callable[[Sequence[Scene], Path], Path]] = {
    "folders": write_folders,
    "splits outside": lambda p, root: write_pairs(p, root, "{split}/images/{stem}.png", "{split}/masks/{stem}.png"),
    "splits inside": lambda p, root: write_pairs(p, root, "img/{split}/{stem}.png", "ann/{split}/{stem}_L.png"),
    "as CamVid": lambda p, root: write_pairs(p, root, "{split}/{stem}.png", "{split}annot/{stem}.png"),
    "suffix": lambda p, root: write_pairs(p, root, "{stem}.png", "{stem}_mask.png"),
    "suffix in splits": lambda p, root: write_pairs(p, root, "{split}/{stem}.png", "{split}/{stem}_labelIds.png"),
    "palette": write_palette,
    "colours": write_colours,
    "colours of CVAT": lambda p, root: write_colours(p, root, "labelmap.txt"),
    "colours in JSON": lambda p, root: write_colours(p, root, "classes.json"),
    "colours in CSV": lambda p, root: write_colours(p, root, "class_dict.csv"),
    "16 bits": write_sixteen_bits,
    "arrays": write_arrays,
    "table": write_table,
    "parquet": write_parquet,
    "voc": write_voc,
    "coco": write_coco,
    "cityscapes": write_cityscapes,
}
FORMATS = {"coco": "coco-semantic"}  # that must be named


def maps_of(dataset: Dataset) -> dict[str, np.ndarray]:
    """The label maps by image without folder and suffix."""
    found = {}
    for split in dataset.splits.values():
        assert isinstance(split.targets, MaskTargets)
        for place, name in enumerate(split.names):
            found[Path(name.split()[-1]).stem.removesuffix("_leftImg8bit")] = split.targets.label_map(place)
    return found
