"""The same label maps are read from every format, upright, with the splits of the files and COCO's rasterisation."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pycocotools.mask as oracle
import pytest
from PIL import Image, ImageOps

from skipway.data import open_dataset
from skipway.data.dataset import Dataset
from skipway.data.mask_targets import IGNORE, MaskTargets
from skipway.data.read_options import ReadOptions
from skipway.errors import DataError
from tests.data.masks import (
    CLASSES,
    FORMATS,
    WRITERS,
    maps_of,
    scenes,
    write_cityscapes,
    write_folders,
    write_image,
    write_mask,
    write_pairs,
    write_voc,
)

# pycocotools, the oracle, does not know NumPy 2's keyword yet.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
WITHOUT_SPLITS = {"folders", "suffix", "palette", "16 bits", "arrays"}


def targets_of(dataset: Dataset) -> MaskTargets:
    assert isinstance(dataset.train.targets, MaskTargets)
    return dataset.train.targets


@pytest.mark.parametrize("form", WRITERS)
def test_the_label_maps_are_the_same_in_every_format(tmp_path: Path, form: str) -> None:
    drawn = scenes()
    place = WRITERS[form](drawn, tmp_path / "set")
    dataset = open_dataset(str(place), ReadOptions(format=FORMATS.get(form, "")))
    found = maps_of(dataset)
    assert not dataset.bad_annotations
    assert found.keys() == {one.stem for one in drawn}
    for one in drawn:
        assert found[one.stem].dtype == np.uint8
        assert found[one.stem].tobytes() == one.labels.tobytes()
        assert found[one.stem].shape == one.labels.shape
    if form != "cityscapes":
        assert dataset.classes == CLASSES
    alone = form in WITHOUT_SPLITS or form.startswith("colours")
    held = [one for one in drawn if one.split == "train"] if not alone else drawn
    assert len(dataset.train) == len(held)
    pixels = np.array([np.bincount(one.labels.ravel(), minlength=len(dataset.classes)) for one in held])
    by_stem = np.argsort([Path(name.split()[-1]).stem for name in dataset.train.names])
    assert (targets_of(dataset).pixels[by_stem, :-1] == pixels).all()
    assert (targets_of(dataset).sizes[by_stem] == [one.labels.shape for one in held]).all()


def test_cityscapes_has_its_19_classes_and_ignores_the_other_ids(tmp_path: Path) -> None:
    drawn = scenes(3)
    write_cityscapes(drawn, tmp_path)
    ids = np.arange(34 * 34).reshape(34, 34) % 34
    write_image(drawn[0]._replace(labels=ids), tmp_path / "leftImg8bit/train/bonn/im00_leftImg8bit.png")
    write_mask(ids.astype(np.uint8), tmp_path / "gtFine/train/bonn/im00_gtFine_labelIds.png")
    dataset = open_dataset(str(tmp_path))
    place = next(i for i, name in enumerate(dataset.train.names) if "bonn" in name)
    assert len(dataset.classes) == 19
    assert dataset.classes[:3] == ("road", "sidewalk", "building")
    labels = targets_of(dataset).label_map(place)
    # cityscapesScripts, labels.py: trainId by id
    trained = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    trained |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    assert (labels == np.vectorize(lambda one: trained.get(one, IGNORE))(ids)).all()


def test_voc_has_the_challenge_s_classes_and_ignores_its_borders(tmp_path: Path) -> None:
    drawn = [one._replace(labels=np.where(one.labels == 3, 255, one.labels * 7).astype(np.uint8)) for one in scenes(6)]
    write_voc(drawn, tmp_path / "VOC2012")
    (tmp_path / "VOC2012" / "classes.txt").unlink()
    dataset = open_dataset(str(tmp_path))
    assert len(dataset.classes) == 21
    assert dataset.classes[7] == "car"
    assert dataset.classes[14] == "motorbike"
    found = maps_of(dataset)
    assert all((found[one.stem] == one.labels).all() for one in drawn)
    assert "255" in dataset.remarks[-1]


def holes_and_parts() -> dict[str, object]:
    """COCO's lists: a ring as a run-length encoding, an object of two parts, and a crowd."""
    ring = np.zeros((40, 50), np.uint8)
    ring[5:35, 5:35] = 1
    ring[12:20, 12:20] = 0
    counts = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], ring.T.ravel(), [0]])))).tolist()
    start = int(np.flatnonzero(ring.T.ravel())[0])
    counts = [start, *counts]
    counts.append(ring.size - sum(counts))
    crowd = {"size": [40, 50], "counts": [1900, 100]}
    shapes: list[tuple[object, int, int]] = [
        ([[2.5, 3.25, 20.75, 4, 18, 22.5], [30, 28, 47.5, 29, 40, 38.5]], 1, 0),
        ({"size": [40, 50], "counts": counts}, 2, 0),
        (crowd, 3, 1),
    ]
    annotations = [
        {"id": i, "image_id": 1, "category_id": category, "bbox": [0, 0, 5, 5], "iscrowd": flag, "segmentation": shape}
        for i, (shape, category, flag) in enumerate(shapes)
    ]
    return {
        "images": [{"id": 1, "file_name": "im00.png", "width": 50, "height": 40}],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "crowd"}, {"id": 1, "name": "parts"}, {"id": 2, "name": "ring"}],
    }


def test_polygons_of_parts_and_masks_with_holes_are_those_of_pycocotools(tmp_path: Path) -> None:
    content = holes_and_parts()
    (tmp_path / "instances.json").write_text(json.dumps(content))
    write_image(scenes(1)[0]._replace(labels=np.zeros((40, 50), np.uint8)), tmp_path / "images" / "im00.png")
    dataset = open_dataset(str(tmp_path / "instances.json"), ReadOptions(format="coco-semantic"))
    assert dataset.classes == ("background", "parts", "ring", "crowd")
    areas, drawn = [], []
    for one in content["annotations"]:  # type: ignore[attr-defined]
        encoded = oracle.frPyObjects(one["segmentation"], 40, 50)
        mask = oracle.decode(oracle.merge(encoded) if isinstance(encoded, list) else encoded).astype(bool)
        areas.append(mask.sum())
        drawn.append((one["category_id"], mask))
    expected = np.zeros((40, 50), np.uint8)
    for place in np.argsort(areas)[::-1]:
        expected[drawn[place][1]] = drawn[place][0]
    found = targets_of(dataset).label_map(0)
    assert (found == expected).all()
    assert found[15, 15] in (0, 1)  # the hole


def test_a_small_object_lies_on_a_large_one_whatever_their_order(tmp_path: Path) -> None:
    boxes = ((0, 0, 40, 40), (10, 10, 20, 20))
    write_image(scenes(1)[0]._replace(labels=np.zeros((50, 50), np.uint8)), tmp_path / "im00.png")
    maps = []
    for order in ((0, 1), (1, 0)):
        shapes = [[[a, b, c, b, c, d, a, d]] for a, b, c, d in (boxes[i] for i in order)]
        annotations = [
            {"id": i, "image_id": 1, "category_id": order[i] + 1, "bbox": [0, 0, 9, 9], "segmentation": shape}
            for i, shape in enumerate(shapes)
        ]
        content = {"images": [{"id": 1, "file_name": "im00.png"}], "annotations": annotations}
        content["categories"] = [{"id": 1, "name": "large"}, {"id": 2, "name": "small"}]
        (tmp_path / "one.json").write_text(json.dumps(content))
        dataset = open_dataset(str(tmp_path / "one.json"), ReadOptions(format="coco-semantic"))
        maps.append(targets_of(dataset).label_map(0))
    assert (maps[0] == maps[1]).all()
    assert maps[0][15, 15] == 2
    assert maps[0][5, 5] == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_are_turned_with_their_images(tmp_path: Path, orientation: int) -> None:
    labels = np.zeros((40, 60), np.uint8)
    labels[3:9, 5:30] = 1
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.zeros((40, 60, 3), np.uint8))
    stored.save(tmp_path / "images" / "stored.jpg", exif=exif)
    Image.fromarray(labels).save(tmp_path / "masks" / "stored.png")
    stored.save(tmp_path / "images" / "upright.jpg", exif=exif)
    turned = Image.fromarray(labels)
    turned.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(turned))
    Image.fromarray(upright).save(tmp_path / "masks" / "upright.png")
    dataset = open_dataset(str(tmp_path))
    found = maps_of(dataset)
    assert not dataset.bad_annotations
    assert (found["upright"] == upright).all()
    # an image that is only mirrored has one size: its mask is taken as it is, as boxes are
    assert (found["stored"] == (upright if orientation >= 5 else labels)).all()
    assert (targets_of(dataset).sizes == upright.shape).all()


def test_camvid_has_the_images_and_the_pixels_of_its_files(shared_data: Path) -> None:
    names = "sky,building,pole,road,pavement,tree,sign,fence,car,pedestrian,bicyclist"
    dataset = open_dataset(str(shared_data / "camvid"), ReadOptions(ignore="11", class_names=names))
    assert {key: len(split) for key, split in dataset.splits.items()} == {"train": 367, "val": 101}
    assert dataset.classes == tuple(names.split(","))
    assert not dataset.bad_annotations
    val = dataset.split("val")
    assert isinstance(val.targets, MaskTargets)
    plain = np.zeros(12, np.int64)
    for file in sorted((shared_data / "camvid" / "valannot").iterdir()):
        plain += np.bincount(np.asarray(Image.open(file)).ravel(), minlength=12)
    assert val.targets.pixels.sum(0).tolist() == plain.tolist()
    first = np.asarray(Image.open(shared_data / "camvid" / "trainannot" / "0001TP_006690.png"))
    assert (targets_of(dataset).label_map(0) == np.where(first == 11, IGNORE, first)).all()


def with_names(names: list[str], image: str, mask: str) -> Callable[[Path], object]:
    def write(root: Path) -> None:
        for one, name in zip(scenes(len(names)), names, strict=True):
            write_image(one, root / image.format(name))
            write_mask(one.labels, root / mask.format(name))

    return write


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/{}.png", "labels/{}.png"),
        ("images/{}.png", "annotations/{}.png"),
        ("imgs/{}.png", "masks/{}_mask.png"),
        ("JPEGImages/{}.png", "SegmentationClass/{}.png"),
        ("train_images/{}.png", "train_masks/{}.png"),
        ("train/{}.png", "train_masks/{}_mask.png"),
        ("train/{}.png", "train_labels/{}_L.png"),
        ("photos/{}.png", "ground_truth/{}_gt.png"),
        ("{}.png", "{}_gt.png"),
        ("{}.png", "{}_seg.png"),
    ],
)
def test_usual_names_are_recognised_without_an_option(tmp_path: Path, image: str, mask: str) -> None:
    with_names(["a", "b", "c"], image, mask)(tmp_path)
    dataset = open_dataset(str(tmp_path))
    assert dataset.task == "segment"
    assert len(dataset.train) == 3


def test_masks_that_number_objects_are_instances_unless_the_option_says_otherwise(tmp_path: Path) -> None:
    for number, one in enumerate(scenes(4)):
        labels = np.zeros((40, 40), np.uint8)
        for i in range(number):
            labels[10 * i : 10 * i + 5, 5:20] = i + 1
        write_image(one._replace(labels=labels), tmp_path / "PNGImages" / f"{one.stem}.png")
        write_mask(labels, tmp_path / "PedMasks" / f"{one.stem}_mask.png")
    shutil.copytree(tmp_path / "PNGImages", tmp_path / "set" / "images")
    shutil.copytree(tmp_path / "PedMasks", tmp_path / "set" / "masks")
    instances = open_dataset(str(tmp_path / "set"))
    assert instances.task == "detect"
    assert "--format semantic" in instances.remarks[0]
    labelled = open_dataset(str(tmp_path / "set"), ReadOptions(format="semantic"))
    assert labelled.classes == ("0", "1", "2", "3")


def test_masks_with_values_of_classes_are_label_maps_and_say_so(tmp_path: Path) -> None:
    root = write_folders(scenes(), tmp_path / "set")
    (root / "classes.txt").unlink()
    dataset = open_dataset(str(root))
    assert dataset.task == "segment"
    assert dataset.classes == ("0", "1", "2", "3")
    assert "--format masks" in dataset.remarks[0]


def test_a_folder_without_matching_names_says_how_masks_are_named(tmp_path: Path) -> None:
    write_pairs(scenes(3), tmp_path, "images/{stem}.png", "masks/m{stem}.png")
    with pytest.raises(DataError, match=r"no mask of the name of an image, such as image im00 and mask mim00"):
        open_dataset(str(tmp_path), ReadOptions(format="semantic"))
