"""What the check says of boxes: those that are wrong, tiny or there twice, and how large objects are."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou

from skipway.data import open_dataset
from skipway.data.box_targets import BoxTargets
from skipway.data.dataset import Dataset
from skipway.data.preprocess import for_photographs
from skipway.data.quality.box_rules import duplicate_boxes, intersection_over_union, object_table
from skipway.data.quality.contact_sheet import colour_of, contact_sheet
from skipway.data.quality.corrupt import apply_policy
from skipway.data.quality.issues import ObjectTable, from_json, to_json, with_object_side
from skipway.data.quality.validate import check_dataset
from skipway.errors import DataError
from skipway.reporting.palette import palette
from tests.data.boxes import Picture, write_coco, write_voc, write_yolo


def categories(dataset: Dataset) -> dict[str, int]:
    counts: dict[str, int] = {}
    for finding in check_dataset(dataset).findings:
        counts[finding.category] = counts.get(finding.category, 0) + finding.count
    return counts


def opened(tmp_path: Path, *pictures: Picture) -> Dataset:
    return open_dataset(str(write_coco(pictures, tmp_path / "set")))


BOX = ("ant", 5, 5, 25, 30)


def test_sound_boxes_have_no_findings_whatever_their_classes(tmp_path: Path) -> None:
    pictures = [
        Picture(f"i{i}", 40 + i, 40, [("ant", 2, 2, 30, 30)] * (i == 0) + [("zebra", 1, 1, 9, 9)]) for i in range(30)
    ]
    dataset = opened(tmp_path, *pictures)
    dataset = replace(dataset, classes=dataset.classes[:1] + dataset.classes[2:], train=replace_labels(dataset))
    assert categories(dataset) == {}, "one image in thirty has an ant, all have a zebra"


def replace_labels(dataset: Dataset) -> object:
    """The training images without the class mule, which none of them has."""
    targets = dataset.train.targets.relabel(np.array([0, -1, 1]), 2)
    return type(dataset.train)(dataset.train.items, targets, dataset.train.names)


def test_one_class_is_enough_and_no_box_is_not(tmp_path: Path) -> None:
    write_yolo([Picture("a", 40, 40, [BOX])], tmp_path / "one")
    (tmp_path / "one" / "classes.txt").write_text("ant")
    (tmp_path / "one" / "labels" / "a.txt").write_text("0 0.5 0.5 0.4 0.4")
    assert categories(open_dataset(str(tmp_path / "one"))) == {}
    dataset = opened(tmp_path, Picture("a", 40, 40, []))
    assert categories(dataset) == {"no boxes": 1, "missing class": 3, "no objects": 1}


def test_a_box_that_is_there_twice_is_counted_once_per_repetition(tmp_path: Path) -> None:
    near = ("ant", 5, 5, 25, 30.5)  # IoU 500 / 510 = 0.98
    other = ("zebra", 5, 5, 25, 30)
    apart = ("ant", 5, 5, 25, 32)  # IoU 500 / 540 = 0.93
    counts = categories(
        opened(tmp_path, Picture("a", 40, 40, [BOX, BOX, near, other, apart]), Picture("b", 40, 41, [BOX]))
    )
    assert counts == {"duplicate box": 2, "missing class": 1}


def test_crowds_are_no_duplicates(tmp_path: Path) -> None:
    dataset = opened(tmp_path, Picture("a", 40, 40, [BOX, BOX]))
    targets = dataset.train.targets
    assert isinstance(targets, BoxTargets)
    assert duplicate_boxes(targets).tolist() == [1]
    assert duplicate_boxes(replace(targets, crowd=np.array([True, False]))).tolist() == [0]


def test_overlaps_are_those_of_torchvision() -> None:
    rng = np.random.default_rng(0)
    corner = rng.random((40, 2)) * 50
    boxes = np.concatenate([corner, corner + rng.random((40, 2)) * 30 + 0.1], 1)
    expected = box_iou(torch.from_numpy(boxes), torch.from_numpy(boxes)).numpy()
    np.testing.assert_allclose(intersection_over_union(boxes), expected, atol=1e-12)


def test_tiny_objects_are_named_with_their_image(tmp_path: Path) -> None:
    dataset = opened(tmp_path, Picture("a", 40, 40, [("ant", 5, 5, 8, 9), ("ant", 5, 5, 9, 9)]))  # sides 3.5 and 4
    finding = next(f for f in check_dataset(dataset).findings if f.category == "tiny object")
    assert (finding.count, finding.detail) == (1, "images/a.png (1)")


def test_corrections_are_notes_with_counts(tmp_path: Path) -> None:
    dataset = opened(
        tmp_path, Picture("a", 40, 40, [("ant", -5, 5, 20, 50), ("ant", 5, 5, 5, 9), BOX, ("mule", 1, 1, 41, 9)])
    )
    found = {f.category: f for f in check_dataset(dataset).findings}
    assert (found["clipped box"].count, found["clipped box"].severity) == (2, "note")
    assert (found["box without area"].count, found["box without area"].severity) == (1, "note")
    assert not check_dataset(dataset).of("fault")


def test_wrong_annotations_are_faults_like_unreadable_files(tmp_path: Path) -> None:
    root = write_voc([Picture(name, 40 + i, 40, [BOX]) for i, name in enumerate("abcd")], tmp_path / "set")
    file = root / "Annotations" / "b.xml"
    file.write_text(file.read_text().replace(">6<", ">nan<"))
    (root / "JPEGImages" / "c.png").write_bytes((root / "JPEGImages" / "c.png").read_bytes()[:60])
    dataset = open_dataset(str(root))
    result = check_dataset(dataset)
    assert [(one.name, one.why.partition(":")[0]) for one in result.bad] == [
        ("JPEGImages/b.png", "invalid annotation"),
        ("JPEGImages/c.png", "truncated"),
    ]
    assert {f.category for f in result.of("fault")} == {"invalid annotation", "truncated"}
    with pytest.raises(
        DataError, match=r"wrong annotations, 2 in all, the first: JPEGImages/b\.png: Annotations/b\.xml line 4: xmin"
    ):
        apply_policy(dataset, result, "error")
    kept = apply_policy(dataset, result, "skip")
    assert kept.train.names == ["JPEGImages/a.png", "JPEGImages/d.png"]
    assert [name for name, _ in kept.left_out] == ["JPEGImages/b.png", "JPEGImages/c.png"]


def test_a_split_of_wrong_annotations_is_refused_by_either_policy_and_listed(tmp_path: Path) -> None:
    root = write_voc([Picture(name, 40, 40, [BOX]) for name in "ab"], tmp_path / "set")
    for file in (root / "Annotations").iterdir():
        file.write_text("<annotation>")
    dataset = open_dataset(str(root))
    result = check_dataset(dataset)
    assert len(result.bad) == 2
    with pytest.raises(DataError, match="wrong annotations, 2 in all"):
        apply_policy(dataset, result, "error")
    with pytest.raises(DataError, match="no readable images in train"):
        apply_policy(dataset, result, "skip")


def test_images_in_two_splits_leak_and_other_boxes_are_no_conflict(tmp_path: Path) -> None:
    one = Picture("a", 60, 60, [("ant", 1, 1, 40, 40)])
    write_coco([one], tmp_path / "set", "annotations/instances_train.json", "train")
    write_coco(
        [one._replace(objects=[("zebra", 5, 5, 50, 50)])], tmp_path / "set", "annotations/instances_val.json", "val"
    )
    counts = categories(open_dataset(str(tmp_path / "set")))
    assert counts.pop("leak") == 1
    assert set(counts) == {"missing class"}
    same = [one, one._replace(stem="b", objects=[("zebra", 5, 5, 50, 50)])]
    root = write_coco(same, tmp_path / "twice")
    (root / "images" / "b.png").write_bytes((root / "images" / "a.png").read_bytes())
    assert categories(open_dataset(str(root))) == {"duplicate": 1, "missing class": 1}


def test_the_table_counts_boxes_by_cocos_limits_and_the_advice_makes_nine_of_ten_cover_a_cell(tmp_path: Path) -> None:
    sides = [10, 31, 32, 40, 95, 96, 100, 120, 160, 200]
    pictures = [Picture(f"i{side}", 400, 320, [("ant", 0, 0, side, side)]) for side in sides]
    result = check_dataset(opened(tmp_path, *pictures, Picture("none", 400, 320, [])))
    assert result.objects is not None
    assert result.objects.counts["train"] == {"ant": 10, "mule": 0, "zebra": 0}
    assert result.objects.without == {"train": 1}
    assert result.objects.sizes == {"ant": (2, 3, 5, (95 + 96) / 2)}
    # all but the smallest need 400 * 8 / 31 = 103.2 pixels
    assert result.objects.advised_side() == 128
    for size, count in ((319, 1), (320, 0), (103, 2), (104, 1)):
        finding = [f for f in with_object_side(result, size).findings if f.category == "small object"]
        assert sum(f.count for f in finding) == count, size
    again = from_json(to_json(result))
    assert again == result
    assert check_dataset(opened(tmp_path, *pictures, Picture("none", 400, 320, []))).objects == result.objects


def test_the_advice_is_the_closed_form_on_random_sizes() -> None:
    rng = np.random.default_rng(1)
    needed = rng.integers(20, 2000, 1001)
    values, numbers = np.unique(needed, return_counts=True)
    held = ObjectTable({}, {}, {}, dict(zip(values.tolist(), numbers.tolist(), strict=True)))
    quantile = np.quantile(needed, 0.9, method="inverted_cdf")
    assert held.advised_side() == int(np.ceil(quantile / 32)) * 32
    assert ObjectTable({}, {}, {}, {}).advised_side() == 0


def test_crowds_have_no_size(tmp_path: Path) -> None:
    dataset = opened(tmp_path, Picture("a", 40, 40, [BOX, ("ant", 1, 1, 39, 39)]))
    targets = dataset.train.targets
    split = type(dataset.train)(
        dataset.train.items, replace(targets, crowd=np.array([False, True])), dataset.train.names
    )
    held = object_table(replace(dataset, train=split))
    assert held is not None
    assert held.sizes == {"ant": (1, 0, 0, round(500**0.5, 1))}


def test_a_changed_annotation_is_checked_again(tmp_path: Path) -> None:
    pictures = [Picture("a", 40, 40, [BOX]), Picture("b", 41, 40, [BOX, ("ant", 7, 7, 20, 20)])]
    root = write_coco(pictures, tmp_path / "set")
    assert not check_dataset(open_dataset(str(root))).reused
    assert check_dataset(open_dataset(str(root))).reused
    content = json.loads((root / "instances.json").read_text())
    content["annotations"].append({"id": 9, "image_id": 1000, "category_id": 7, "bbox": [3, 3, 0, 5]})
    (root / "instances.json").write_text(json.dumps(content))
    result = check_dataset(open_dataset(str(root)))
    assert not result.reused
    assert "box without area" in {f.category for f in result.findings}


def test_the_sheet_shows_each_box_where_the_object_is_in_the_colour_of_its_class(tmp_path: Path) -> None:
    dataset = opened(tmp_path, Picture("a", 80, 40, [("mule", 20, 10, 60, 30)]))
    Image.new("RGB", (80, 40), (90, 90, 90)).save(tmp_path / "set" / "images" / "a.png")
    sheet = np.asarray(contact_sheet(dataset, replace(for_photographs(160), fit="pad"), palette(2)))
    found = np.argwhere((sheet == np.array(colour_of(1))).all(2))
    top, left = 6 + 14 + 6 + 14 + 6, 6  # of the tile, in which the image of twice the size has 40 rows above it
    edges = np.array([left + 40, top + 40 + 20, left + 120 - 1, top + 40 + 60 - 1])
    rows, columns = found[:, 0], found[:, 1]
    inside = rows >= edges[1]  # the name is above
    assert columns[inside].min() == edges[0]
    assert abs(columns[inside].max() - edges[2]) <= 1
    assert abs(rows.max() - edges[3]) <= 1
    assert edges[1] - 14 <= rows.min() < edges[1]


def test_many_classes_have_different_colours_on_which_black_can_be_read() -> None:
    colours = np.array([colour_of(label) for label in range(24)], float)
    apart = np.abs(colours[:, None] - colours[None]).sum(2)[np.triu_indices(24, 1)]
    assert apart.min() > 15
    luminance = (colours / 255) ** 2.2 @ [0.2126, 0.7152, 0.0722]
    assert ((luminance + 0.05) / 0.05).min() > 4.5, "the contrast that WCAG asks of text"


def test_the_check_of_the_blood_cells(shared_data: Path) -> None:
    result = check_dataset(open_dataset(str(shared_data / "bccd")))
    found = {f.category: f.count for f in result.findings}
    assert found["box without area"] == 2
    assert not result.of("fault")
    assert result.objects is not None
    assert sum(result.objects.counts["train"].values()) == 2804
    assert 64 <= result.objects.advised_side() <= 160
