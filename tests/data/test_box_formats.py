"""The same boxes are read from Pascal VOC, COCO and YOLO, upright, with COCO's masks and the official splits."""

import json
import time
from pathlib import Path

import numpy as np
import pycocotools.mask as oracle
import pytest
from PIL import Image, ImageOps

from skipway.data import open_dataset
from skipway.data.box_targets import BoxTargets
from skipway.data.dataset import Dataset, Split
from skipway.data.formats.coco_masks import runs_of
from skipway.data.read_options import ReadOptions
from skipway.errors import DataError, SkipwayError
from tests.data.boxes import (
    NAMES,
    WRITERS,
    Picture,
    Table,
    coco_dict,
    table,
    write_coco,
    write_images,
    write_voc,
    write_yolo,
    xml_of,
    yolo_lines,
)

# pycocotools, the oracle, does not know NumPy 2's keyword yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def targets_of(split: Split | None) -> BoxTargets:
    assert split is not None
    assert isinstance(split.targets, BoxTargets)
    return split.targets


def boxes_in(split: Split, classes: tuple[str, ...]) -> list[Picture]:
    """A split in the form of the table."""
    targets, found = targets_of(split), []
    for place, name in enumerate(split.names):
        rows = targets.rows(place)
        labels = (classes[label] for label in targets.labels[rows])
        objects = [(label, *box) for label, box in zip(labels, targets.boxes[rows].tolist(), strict=True)]
        height, width = targets.sizes[place].tolist()
        found.append(Picture(Path(name).stem, width, height, objects))
    return found


def largest_difference(one: Table, other: Table) -> float:
    assert [(p.stem, p.width, p.height, [o[0] for o in p.objects]) for p in one] == [
        (p.stem, p.width, p.height, [o[0] for o in p.objects]) for p in other
    ]
    boxes = ([o[1:] for p in pictures for o in p.objects] for pictures in (one, other))
    return float(np.abs(np.array(next(boxes)) - np.array(next(boxes))).max())


def test_the_same_boxes_in_any_format_are_the_same_bytes(tmp_path: Path) -> None:
    pictures = table()
    opened = {name: open_dataset(str(write(pictures, tmp_path / name))) for name, write in WRITERS.items()}
    plain = tmp_path / "plain"
    write_images(pictures, plain)
    (plain / "instances.json").write_text(json.dumps(coco_dict(pictures)))
    opened["plain folder"] = open_dataset(str(plain))
    opened["file"] = open_dataset(str(plain / "instances.json"))
    assert {name: d.classes for name, d in opened.items()} == dict.fromkeys(opened, ("ant", "mule", "zebra"))
    assert len({d.train.targets.digest() for d in opened.values()}) == 1
    assert all(d.task == "detect" and not d.bad_annotations for d in opened.values())
    for dataset in opened.values():
        assert largest_difference(boxes_in(dataset.train, dataset.classes), pictures) == 0
        assert [Path(item).name for item in dataset.train.items] == [f"{p.stem}.png" for p in pictures]
    moved = [pictures[0], pictures[1]._replace(objects=[("ant", 0, 0, 9, 9.5)]), *pictures[2:]]
    assert open_dataset(str(write_coco(moved, tmp_path / "b"))).train.targets.digest() not in {
        d.train.targets.digest() for d in opened.values()
    }


def fractional() -> list[Picture]:
    rng = np.random.default_rng(5)
    return [
        one._replace(objects=[(o[0], *(np.array(o[1:]) * (1 - 0.01 * rng.random())).tolist()) for o in one.objects])
        for one in table(seed=3)
    ]


@pytest.mark.parametrize("chain", [("coco", "yolo", "coco"), ("voc", "coco", "voc")])
def test_round_trips_move_no_corner_by_a_millionth_of_a_pixel(tmp_path: Path, chain: tuple[str, ...]) -> None:
    first = pictures = fractional()
    for step, name in enumerate(chain):
        dataset = open_dataset(str(WRITERS[name](pictures, tmp_path / str(step))))
        pictures = boxes_in(dataset.train, dataset.classes)
    assert 0 < largest_difference(pictures, first) < 1e-6


def test_category_ids_are_replaced_by_names_whatever_their_order_and_gaps(tmp_path: Path) -> None:
    pictures = table(6)
    digests = set()
    for i, ids in enumerate([{"ant": 0, "mule": 1, "zebra": 2}, {"zebra": 3, "mule": 1, "ant": 900}]):
        root = write_coco(pictures, tmp_path / str(i))
        (root / "instances.json").write_text(json.dumps(coco_dict(pictures, ids)))
        digests.add(open_dataset(str(root)).train.targets.digest())
    assert len(digests) == 1


def test_the_first_pixel_of_voc_is_1_and_difficult_objects_are_crowds(tmp_path: Path) -> None:
    root = write_voc([Picture("a", 50, 40, [("ant", 0, 0, 50, 40), ("ant", 4, 5, 7, 9)])], tmp_path / "set")
    file = root / "Annotations" / "a.xml"
    text = file.read_text()
    assert "<xmin>1</xmin><ymin>1</ymin><xmax>50</xmax><ymax>40</ymax>" in text
    file.write_text(text[::-1].replace("<difficult>0"[::-1], "<difficult>1"[::-1], 1)[::-1])
    targets = targets_of(open_dataset(str(root)).train)
    assert targets.boxes.tolist() == [[0, 0, 50, 40], [4, 5, 7, 9]]
    assert targets.crowd.tolist() == [False, True]
    assert targets.corrected.tolist() == [[0, 0]]


def with_segmentation(root: Path, segmentations: list[object], width: int = 60, height: int = 50) -> Dataset:
    """One image with an annotation for each segmentation."""
    picture = Picture("a", width, height, [("ant", 5, 5, 40, 40)] * len(segmentations))
    write_images([picture], root / "images")
    content = coco_dict([picture])
    for one, segmentation in zip(content["annotations"], segmentations, strict=True):
        one["segmentation"] = segmentation
        del one["area"]
    (root / "instances.json").write_text(json.dumps(content))
    return open_dataset(str(root))


PARTS = [[5, 5, 20.5, 6, 18, 22.25], [30, 30, 40, 30, 40, 40, 30, 40]]
# a ring: the outer edge, then along a seam to the inner edge and round it the other way
HOLE = [[5, 5, 40, 5, 40, 40, 5, 40, 5, 5, 15, 15, 15, 30, 30, 30, 30, 15, 15, 15]]


def test_polygons_with_parts_and_holes_and_run_lengths_are_the_masks_of_pycocotools(tmp_path: Path) -> None:
    ring = np.zeros((50, 60), np.uint8)
    ring[5:40, 5:40], ring[15:30, 15:30] = 1, 0
    packed = oracle.encode(np.asfortranarray(ring))
    counts = np.diff(np.flatnonzero(np.diff(ring.T.ravel(), prepend=1 - ring[0, 0], append=2)))
    runs = {"size": [50, 60], "counts": [*([0] if ring[0, 0] else []), *counts.tolist()]}
    text = {"size": [50, 60], "counts": packed["counts"].decode()}
    targets = targets_of(with_segmentation(tmp_path, [PARTS, HOLE, runs, text, None]).train)
    assert targets.masks is not None
    assert targets.masks[4] is None
    expected = [oracle.decode(oracle.merge(oracle.frPyObjects(one, 50, 60))) for one in (PARTS, HOLE)] + [ring, ring]
    for mask, pixels in zip(targets.masks[:4], expected, strict=True):
        np.testing.assert_array_equal(oracle.decode(mask), pixels)
    assert oracle.decode(targets.masks[1])[20, 20] == 0, "the hole is a hole"
    assert targets.areas.tolist() == [*(float(pixels.sum()) for pixels in expected), 35.0 * 35]


def test_run_lengths_are_unpacked_as_pycocotools_packs_them() -> None:
    for seed in range(20):
        pixels = (np.random.default_rng(seed).random((23, 31)) < seed / 20).astype(np.uint8)
        packed = oracle.encode(np.asfortranarray(pixels))["counts"].decode()
        lengths = runs_of(packed)
        unpacked = np.repeat(np.arange(len(lengths)) % 2, lengths).reshape(31, 23).T
        np.testing.assert_array_equal(unpacked, pixels)


def test_polygons_of_yolo_are_masks_and_their_bounds_boxes(tmp_path: Path) -> None:
    root = write_yolo([Picture("a", 60, 50, [("ant", 1, 1, 9, 9)])], tmp_path / "set")
    fractions = (np.array(PARTS[0]).reshape(-1, 2) / [60, 50]).ravel()
    (root / "labels" / "a.txt").write_text(f"1 {' '.join(map(repr, fractions.tolist()))}\n")
    targets = targets_of(open_dataset(str(root)).train)
    np.testing.assert_allclose(targets.boxes, [[5, 5, 20.5, 22.25]], atol=1e-6)
    expected = oracle.decode(oracle.frPyObjects(PARTS[:1], 50, 60)[0])
    np.testing.assert_array_equal(oracle.decode(targets.masks[0]), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("recorded", ["upright", "stored"])
def test_boxes_and_masks_are_turned_with_an_image_if_they_were_drawn_on_its_stored_pixels(
    tmp_path: Path, orientation: int, recorded: str
) -> None:
    stored = np.zeros((40, 64, 3), np.uint8)
    stored[4:13, 20:51] = 255  # the object
    image = Image.fromarray(stored)
    tags = Image.Exif()
    tags[0x0112] = orientation
    (tmp_path / "images").mkdir()
    image.save(tmp_path / "images" / "a.png", exif=tags)
    turned = ImageOps.exif_transpose(Image.open(tmp_path / "images" / "a.png"))
    upright = np.asarray(turned)[:, :, 0] > 0
    if orientation < 5 and recorded == "stored":
        recorded = "upright"  # the sizes are equal, and programs show images upright
    drawn = upright if recorded == "upright" else stored[:, :, 0] > 0
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    box = [int(columns[0]), int(rows[0]), len(columns), len(rows)]
    corners = [box[0], box[1], box[0] + box[2], box[1], box[0] + box[2], box[1] + box[3], box[0], box[1] + box[3]]
    entry = {"id": 1, "image_id": 1, "category_id": 1, "bbox": box, "segmentation": [corners], "iscrowd": 0}
    listed = {"id": 1, "file_name": "a.png", "width": drawn.shape[1], "height": drawn.shape[0]}
    content = {"images": [listed], "annotations": [entry], "categories": [{"id": 1, "name": "ant"}]}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    dataset = open_dataset(str(tmp_path))
    targets = targets_of(dataset.train)
    places = np.argwhere(upright)
    (top, left), (bottom, right) = places.min(0), places.max(0) + 1
    assert targets.boxes.tolist() == [[left, top, right, bottom]]
    assert targets.sizes.tolist() == [[*upright.shape]]
    np.testing.assert_array_equal(oracle.decode(targets.masks[0]).astype(bool), upright)


def test_yolo_is_of_the_upright_image(tmp_path: Path) -> None:
    root = write_yolo([Picture("a", 60, 40, [("ant", 0, 0, 30, 10)])], tmp_path / "set")
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.new("RGB", (60, 40)).save(root / "images" / "a.png", exif=tags)
    targets = targets_of(open_dataset(str(root)).train)
    assert targets.sizes.tolist() == [[60, 40]]
    np.testing.assert_allclose(targets.boxes, [[0, 0, 20, 15]])


def test_sizes_are_read_without_decoding_a_pixel(tmp_path: Path) -> None:
    root = write_coco(table(4), tmp_path / "set")
    for file in (root / "images").iterdir():
        content = file.read_bytes()
        file.write_bytes(content[: content.index(b"IDAT") + 8])  # the header, and no picture
    assert len(open_dataset(str(root)).train) == 4


def test_images_without_objects_are_images(tmp_path: Path) -> None:
    pictures = [Picture(name, 40, 30, []) for name in "abc"] + [Picture("d", 40, 30, [("ant", 1, 2, 11, 12)])]
    for name, write in WRITERS.items():
        root = write(pictures, tmp_path / name)
        if name == "yolo":
            (root / "labels" / "b.txt").write_text("\n \n")
        targets = targets_of(open_dataset(str(root)).train)
        assert targets.counted.tolist() == [0, 0, 0, 1], name
        assert targets.item(0).labels.tolist() == [-1]


def numbers(dataset: Dataset) -> dict[str, int]:
    return {key: len(split) for key, split in dataset.splits.items()}


def test_the_lists_of_voc_are_its_splits(tmp_path: Path) -> None:
    root = write_voc(table(9), tmp_path / "set")
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    stems = [p.stem for p in table(9)]
    for name, held in {"train": stems[:5], "val": stems[5:7], "trainval": stems[:7], "test": stems[7:]}.items():
        (lists / f"{name}.txt").write_text("\n".join(held))
    (lists / "ant_train.txt").write_text("im00 -1\n")
    assert numbers(open_dataset(str(root))) == {"train": 5, "val": 2, "test": 2}
    (lists / "train.txt").unlink()
    assert numbers(open_dataset(str(root))) == {"train": 7, "test": 2}


def test_two_years_of_voc_are_one_data_set(tmp_path: Path) -> None:
    for year, count in (("VOC2007", 3), ("VOC2012", 4)):
        write_voc(table(count, seed=count), tmp_path / "VOCdevkit" / year)
    dataset = open_dataset(str(tmp_path))
    assert numbers(dataset) == {"train": 7}
    assert dataset.train.names[0] == "VOCdevkit/VOC2007/JPEGImages/im00.png"


def test_xml_beside_the_images_of_splits(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("valid", 2)):
        write_images(table(count), tmp_path / split)
        for one in table(count):
            (tmp_path / split / f"{one.stem}.xml").write_text(xml_of(one))
    assert numbers(open_dataset(str(tmp_path))) == {"train": 4, "val": 2}


@pytest.mark.parametrize(
    ("images", "file"),
    [
        ("{0}2017", "annotations/instances_{0}2017.json"),
        ("images/{0}2017", "annotations/instances_{0}2017.json"),
        ("{0}", "{0}/_annotations.coco.json"),
        ("images", "annotations/{0}.json"),
        ("{0}/images", "{0}.json"),
    ],
)
def test_the_splits_of_coco_are_those_of_its_folders_or_file_names(tmp_path: Path, images: str, file: str) -> None:
    parts = {"train": table(5), "valid": [p._replace(stem=f"v{p.stem}") for p in table(3)]}
    for word, pictures in parts.items():
        write_coco(pictures, tmp_path, file.format(word), images.format(word))
    dataset = open_dataset(str(tmp_path))
    assert numbers(dataset) == {"train": 5, "val": 3}
    assert not dataset.bad_annotations
    assert {Path(name).name[:2] for name in dataset.val.names} == {"vi"}


def test_the_same_file_names_in_two_splits_are_different_images(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_coco(table(3), tmp_path, f"annotations/instances_{split}2017.json", f"{split}2017")
    dataset = open_dataset(str(tmp_path))
    assert dataset.train.names[0] == "train2017/im00.png"
    assert dataset.val.names[0] == "val2017/im00.png"


@pytest.mark.parametrize("style", ["images/{0}", "{0}/images", "{0}"])
@pytest.mark.parametrize("names", ["list", "mapping", "classes.txt"])
def test_the_splits_and_names_of_yolo(tmp_path: Path, style: str, names: str) -> None:
    for word, count in (("train", 6), ("val", 2)):
        folder = tmp_path / style.format(word)
        write_images(table(count), folder)
        labels = Path(str(folder).replace("/images", "/labels"))
        labels.mkdir(parents=True, exist_ok=True)
        for one in table(count):
            (labels / f"{one.stem}.txt").write_text(yolo_lines(one))
    if names == "classes.txt":
        (tmp_path / "classes.txt").write_text("\n".join(NAMES) + "\n")
    else:
        held = json.dumps(NAMES) if names == "list" else "".join(f"\n  {i}: {name}" for i, name in enumerate(NAMES))
        paths = "\n".join(f"{word}: {style.format(word)}" for word in ("train", "val"))
        (tmp_path / "data.yaml").write_text(f"path: .\n{paths}\ntest:\nnc: 3\nnames: {held}\n")
    for where in (tmp_path, tmp_path / "data.yaml")[: 1 if names == "classes.txt" else 2]:
        dataset = open_dataset(str(where))
        assert numbers(dataset) == {"train": 6, "val": 2}
        assert dataset.classes == ("ant", "mule", "zebra")
        assert largest_difference(boxes_in(dataset.train, dataset.classes), table(6)) < 1e-6


def test_a_yaml_may_list_images_and_lead_up_as_some_tools_write_it(tmp_path: Path) -> None:
    root = write_yolo(table(6), tmp_path / "set")
    (root / "train.txt").write_text("".join(f"./images/im0{i}.png\n" for i in range(4)))
    (root / "data.yaml").write_text(f"train: train.txt\nval: [../images]\nnames: {json.dumps(NAMES)}\n")
    dataset = open_dataset(str(root / "data.yaml"))
    assert numbers(dataset) == {"train": 4, "val": 6}
    assert dataset.train.names[0] == "images/im00.png"


def test_masks_of_instances_are_objects_of_one_class(tmp_path: Path) -> None:
    write_images(table(3), tmp_path / "PNGImages")
    values = {}
    for one in table(3):
        grid = np.zeros((one.height, one.width), np.uint8)
        grid[3:9, 4:20], grid[12:25, 10:13] = 1, 2
        values[one.stem] = grid if one.stem != "im02" else np.zeros_like(grid)
        (tmp_path / "PedMasks").mkdir(exist_ok=True)
        Image.fromarray(values[one.stem]).save(tmp_path / "PedMasks" / f"{one.stem}_mask.png")
    dataset = open_dataset(str(tmp_path), ReadOptions(format="masks"))
    targets = targets_of(dataset.train)
    assert dataset.classes == ("object",)
    assert targets.counted.tolist() == [2, 2, 0]
    assert targets.boxes.tolist() == [[4, 3, 20, 9], [10, 12, 13, 25]] * 2
    assert targets.areas.tolist() == [96, 39] * 2
    np.testing.assert_array_equal(oracle.decode(targets.masks[1]), values["im00"] == 2)


def test_data_in_two_formats_are_asked_about_and_the_option_chooses(tmp_path: Path) -> None:
    pictures = table(6)
    write_yolo(pictures, tmp_path)
    (tmp_path / "instances.json").write_text(json.dumps(coco_dict(pictures[:4])))
    with pytest.raises(DataError, match="formats coco and yolo: choose one by --format"):
        open_dataset(str(tmp_path))
    for name, count in (("coco", 4), ("yolo", 6)):
        dataset = open_dataset(str(tmp_path), ReadOptions(format=name))
        assert len(dataset.train) == count
        assert dataset.reading.options() == ["--format", name]


@pytest.mark.parametrize(
    ("where", "name", "said"),
    [
        ("", "vok", "unknown format 'vok': did you mean 'voc'"),
        ("", "voc", "has no Pascal VOC annotations"),
        ("instances.json", "yolo", "is a file of --format coco, not of yolo"),
        ("", "masks", "--format masks needs two"),
    ],
)
def test_a_format_that_does_not_apply_is_one_line(tmp_path: Path, where: str, name: str, said: str) -> None:
    write_coco(table(3), tmp_path)
    with pytest.raises(SkipwayError, match=said):
        open_dataset(str(tmp_path / where), ReadOptions(format=name))
    with pytest.raises(DataError, match="--format is for a folder or file with annotations of boxes"):
        open_dataset("digits", ReadOptions(format="voc"))


def test_the_blood_cells_are_split_and_counted_as_published(shared_data: Path) -> None:
    began = time.perf_counter()
    dataset = open_dataset(str(shared_data / "bccd"))
    assert time.perf_counter() - began < 10
    assert numbers(dataset) == {"train": 205, "val": 87, "test": 72}
    parts = [targets_of(split) for split in dataset.splits.values()]
    labels = np.concatenate([part.labels for part in parts])
    assert len(labels) == 4888 - 2
    counts = dict(zip(dataset.classes, np.bincount(labels).tolist(), strict=True))
    assert counts == {"Platelets": 361, "RBC": 4155 - 2, "WBC": 372}
    corrected = [
        name for s in dataset.splits.values() for name, c in zip(s.names, targets_of(s).corrected, strict=True) if c[1]
    ]
    assert sorted(corrected) == ["JPEGImages/BloodImage_00338.jpg", "JPEGImages/BloodImage_00343.jpg"]
    boxes = np.concatenate([part.boxes for part in parts])
    sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
    medians = {name: float(np.median(sides[labels == i])) for i, name in enumerate(dataset.classes)}
    assert medians == pytest.approx({"Platelets": 39, "RBC": 102, "WBC": 188}, abs=1.5)
    assert max(part.most for part in parts) == 30


def test_the_coco_photographs_have_the_objects_masks_and_crowds_of_their_file(shared_data: Path) -> None:
    dataset = open_dataset(str(shared_data / "coco"))
    targets = targets_of(dataset.train)
    assert (len(targets), len(targets.labels), int(targets.crowd.sum())) == (48, 459, 7)
    assert int((targets.counted == 0).sum()) == 2
    assert len(dataset.classes) == 80
    assert not dataset.bad_annotations
    content = json.loads((shared_data / "coco" / "instances.json").read_text())
    names = {one["id"]: one["name"] for one in content["categories"]}
    sizes = {one["id"]: (one["file_name"], one["height"], one["width"]) for one in content["images"]}
    places = {Path(name).name: i for i, name in enumerate(dataset.train.names)}
    seen: dict[int, int] = {}
    for one in content["annotations"]:
        file, height, width = sizes[one["image_id"]]
        row = targets.rows(places[file]).start + seen.setdefault(one["image_id"], 0)
        seen[one["image_id"]] += 1
        assert dataset.classes[targets.labels[row]] == names[one["category_id"]]
        assert targets.areas[row] == one["area"]
        encoded = oracle.frPyObjects(one["segmentation"], height, width)
        merged = encoded if isinstance(encoded, dict) else oracle.merge(encoded)
        assert targets.masks[row]["counts"] == merged["counts"]
