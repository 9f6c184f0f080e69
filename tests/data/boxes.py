"""One table of images with boxes, and small writers of it as COCO, Pascal VOC and YOLO."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image


class Picture(NamedTuple):
    """An image without suffix, its width and height, and its objects: class, left, top, right, bottom in pixels."""

    stem: str
    width: int
    height: int
    objects: Sequence[tuple[str, float, float, float, float]]


Table = Sequence[Picture]
NAMES = ("zebra", "ant", "mule")  # not in alphabetical order


def table(images: int = 20, seed: int = 0) -> Table:
    """Images of 0 to 5 boxes with whole coordinates; sides that no power of 2 divides."""
    rng = np.random.default_rng(seed)
    pictures = []
    for i in range(images):
        width, height = int(rng.integers(30, 70)), int(rng.integers(30, 70))
        objects = []
        for _ in range(i % 6):
            left, top = int(rng.integers(0, width - 10)), int(rng.integers(0, height - 10))
            right, bottom = int(rng.integers(left + 5, width + 1)), int(rng.integers(top + 5, height + 1))
            objects.append((NAMES[int(rng.integers(3))], left, top, right, bottom))
        pictures.append(Picture(f"im{i:02}", width, height, objects))
    return pictures


def write_images(pictures: Table, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, one in enumerate(pictures):
        pixels = np.random.default_rng(i).integers(0, 256, (one.height, one.width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{one.stem}.png")


def coco_dict(pictures: Table, ids: Mapping[str, int] | None = None) -> dict[str, list[dict[str, object]]]:
    """COCO's lists; `ids` are those of the categories, in any order."""
    ids = ids or {"zebra": 90, "ant": 7, "mule": 13}
    content: dict[str, list[dict[str, object]]] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": identity, "name": name} for name, identity in ids.items()],
    }
    for number, one in enumerate(pictures):
        image = {"id": 1000 - number, "file_name": f"{one.stem}.png", "width": one.width, "height": one.height}
        content["images"].append(image)
        for name, left, top, right, bottom in one.objects:
            size = (right - left, bottom - top)
            entry = {"id": len(content["annotations"]) + 1, "image_id": image["id"], "category_id": ids[name]}
            box = {"bbox": [left, top, *size], "area": size[0] * size[1], "iscrowd": 0, "segmentation": []}
            content["annotations"].append(entry | box)
    return content


def write_coco(pictures: Table, root: Path, file: str = "instances.json", images: str = "images") -> Path:
    write_images(pictures, root / images)
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(coco_dict(pictures)))
    return root


def xml_of(one: Picture) -> str:
    lines = ["<annotation>", f"<filename>{one.stem}.png</filename>"]
    lines += [f"<size><width>{one.width}</width><height>{one.height}</height><depth>3</depth></size>"]
    for name, left, top, right, bottom in one.objects:
        corners = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
        box = "".join(f"<{tag}>{value!r}</{tag}>" for tag, value in corners.items())
        lines += [f"<object><name>{name}</name><difficult>0</difficult><bndbox>{box}</bndbox></object>"]
    return "\n".join([*lines, "</annotation>"])


def write_voc(pictures: Table, root: Path) -> Path:
    write_images(pictures, root / "JPEGImages")
    (root / "Annotations").mkdir()
    for one in pictures:
        (root / "Annotations" / f"{one.stem}.xml").write_text(xml_of(one))
    return root


def yolo_lines(one: Picture, names: Sequence[str] = NAMES) -> str:
    lines = []
    for name, left, top, right, bottom in one.objects:
        centre = ((left + right) / 2 / one.width, (top + bottom) / 2 / one.height)
        values = (*centre, (right - left) / one.width, (bottom - top) / one.height)
        lines.append(" ".join([str(names.index(name)), *map(repr, values)]))
    return "\n".join(lines)


def write_yolo(pictures: Table, root: Path) -> Path:
    write_images(pictures, root / "images")
    (root / "labels").mkdir()
    for one in pictures:
        if one.objects:
            (root / "labels" / f"{one.stem}.txt").write_text(yolo_lines(one))
    (root / "classes.txt").write_text("\n".join(NAMES))
    return root


WRITERS: dict[str, Callable[[Table, Path], Path]] = {"voc": write_voc, "coco": write_coco, "yolo": write_yolo}
