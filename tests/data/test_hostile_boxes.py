"""Every wrong annotation is one line with its file and line or object, and its image is left out; or it is corrected
and counted; or, if the whole file is wrong, opening it stops with one line."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from skipway.data import open_dataset
from skipway.data.box_targets import BoxTargets
from skipway.data.quality.issues import CATEGORIES
from skipway.data.read_options import ReadOptions
from skipway.errors import DataError
from tests.data.boxes import WRITERS, Picture, write_images

# b is the image whose annotation is changed: two boxes in an image of 60 x 40 pixels
PICTURES = [
    Picture("a", 50, 40, [("ant", 5, 5, 25, 30), ("mule", 1, 1, 20, 20)]),
    Picture("b", 60, 40, [("zebra", 10, 8, 30, 28), ("ant", 20, 10, 50, 36)]),
    Picture("c", 40, 44, [("zebra", 2, 2, 12, 13)]),
]
Change = Callable[[Path], object]


def xml(old: str, new: str, count: int = 1) -> Change:
    """Replace text in b's XML; the first object is in line 4, the second in line 5."""

    def change(root: Path) -> None:
        file = root / "Annotations" / "b.xml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new, count))

    return change


def whole_xml(content: bytes | str) -> Change:
    data = content.encode() if isinstance(content, str) else content
    return lambda root: (root / "Annotations" / "b.xml").write_bytes(data)


def lists(text: str) -> Change:
    def change(root: Path) -> None:
        (root / "ImageSets" / "Main").mkdir(parents=True)
        (root / "ImageSets" / "Main" / "train.txt").write_text(text)

    return change


def entry(kind: str, place: int, **values: Any) -> Change:
    """Set fields of an entry of COCO's lists; b's annotations are the third and fourth. None removes the field."""

    def change(root: Path) -> None:
        content = json.loads((root / "instances.json").read_text())
        for name, value in values.items():
            content[kind][place][name] = value
            if value is None:
                del content[kind][place][name]
        (root / "instances.json").write_text(json.dumps(content))

    return change


def coco(change_content: Callable[[dict[str, Any]], object]) -> Change:
    def change(root: Path) -> None:
        content = json.loads((root / "instances.json").read_text())
        change_content(content)
        (root / "instances.json").write_text(json.dumps(content))

    return change


def whole_json(text: bytes | str) -> Change:
    data = text.encode() if isinstance(text, str) else text
    return lambda root: (root / "instances.json").write_bytes(data)


def line(text: str) -> Change:
    """b's second line."""

    def change(root: Path) -> None:
        file = root / "labels" / "b.txt"
        file.write_text(f"{file.read_text().splitlines()[0]}\n{text}\n")

    return change


def whole_text(content: bytes) -> Change:
    return lambda root: (root / "labels" / "b.txt").write_bytes(content)


def replaced(file: str, make: Callable[[Path], object]) -> Change:
    def change(root: Path) -> None:
        (root / file).unlink()
        make(root / file)

    return change


def ones(**values: object) -> dict[str, object]:
    return {"size": [40, 60], "counts": [0, 2400]} | values


BOMB = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;">]><annotation>&y;</annotation>'
FIRST, SECOND = "Annotations/b.xml line 4", "Annotations/b.xml line 5"
THIRD = "instances.json annotation 3"
TEXT = "labels/b.txt line 2"
FAR = [[-1e9, 5, 20, 6, 18, 22]]

# what is wrong: the change, the category, and where the line says that it is
BAD: dict[str, dict[str, tuple[Change, str, str]]] = {
    "voc": {
        "empty": (whole_xml(""), "invalid annotation", "Annotations/b.xml"),
        "cut": (xml("</annotation>", ""), "invalid annotation", "Annotations/b.xml: line 6"),
        "no XML": (whole_xml("a caption"), "invalid annotation", "Annotations/b.xml: line 1"),
        "bytes": (whole_xml(bytes(range(256))), "invalid annotation", "Annotations/b.xml"),
        "another root": (whole_xml("<svg></svg>"), "invalid annotation", "Annotations/b.xml"),
        "an entity bomb": (whole_xml(BOMB), "invalid annotation", "Annotations/b.xml"),
        "a bomb in UTF-16": (whole_xml(BOMB.encode("utf-16")), "invalid annotation", "Annotations/b.xml"),
        "another's file": (
            whole_xml('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>'),
            "invalid annotation",
            "Annotations/b.xml",
        ),
        "an unknown entity": (xml("zebra", "&zebra;"), "invalid annotation", "Annotations/b.xml: line 4"),
        "an unknown encoding": (
            whole_xml('<?xml version="1.0" encoding="klingon"?><annotation/>'),
            "invalid annotation",
            "Annotations/b.xml",
        ),
        "a number in words": (xml(">11<", ">eleven<"), "invalid annotation", FIRST),
        "a missing number": (xml("<xmin>11</xmin>", ""), "invalid annotation", FIRST),
        "an empty number": (xml(">11<", "> <"), "invalid annotation", FIRST),
        "NaN": (xml(">11<", ">nan<"), "invalid annotation", FIRST),
        "infinite": (xml(">30<", ">inf<"), "invalid annotation", FIRST),
        "too large to be finite": (xml(">30<", ">1e999<"), "invalid annotation", FIRST),
        "no box": (xml("bndbox", "box", 2), "invalid annotation", FIRST),
        "no name": (xml("<name>ant</name>", ""), "invalid annotation", SECOND),
        "an unprintable name": (xml("ant<", "a\x85t<"), "invalid annotation", SECOND),
        "inverted": (xml(">11<", ">31<"), "inverted box", FIRST),
        "upside down": (xml(">36<", ">4<"), "inverted box", SECOND),
        "right of the image": (
            lambda root: (xml(">30<", ">300<")(root), xml(">11<", ">61<")(root)),
            "box outside the image",
            FIRST,
        ),
        "left of the image": (
            lambda root: (xml(">30<", ">-1<")(root), xml(">11<", ">-9<")(root)),
            "box outside the image",
            FIRST,
        ),
        "another size": (xml("<width>60<", "<width>61<"), "size mismatch", "Annotations/b.xml"),
        "no width": (xml("<width>60</width>", ""), "invalid annotation", "Annotations/b.xml line 3"),
        "a size of 0": (xml("<width>60<", "<width>0<"), "size mismatch", "Annotations/b.xml"),
        "no image": (lambda root: (root / "JPEGImages/b.png").unlink(), "missing image", "Annotations/b.xml"),
        "no XML at all": (
            lambda root: (root / "Annotations/b.xml").unlink(),
            "invalid annotation",
            "Annotations/b.xml",
        ),
        "a folder": (replaced("Annotations/b.xml", Path.mkdir), "invalid annotation", "Annotations/b.xml"),
        "a link to nowhere": (
            replaced("Annotations/b.xml", lambda file: file.symlink_to("nowhere")),
            "invalid annotation",
            "Annotations/b.xml",
        ),
        "listed twice": (lists("a\nb\nc\nb\n"), "image listed twice", "Annotations/b.xml"),
        "listed and missing": (lists("a\nc\nq\n"), "missing image", "train.txt line 3"),
    },
    "coco": {
        "NaN": (entry("annotations", 2, bbox=[float("nan"), 8, 20, 20]), "invalid annotation", THIRD),
        "infinite": (entry("annotations", 2, bbox=[10, 8, float("inf"), 20]), "invalid annotation", THIRD),
        "an endless integer": (entry("annotations", 2, bbox=[10, 8, 10**400, 20]), "invalid annotation", THIRD),
        "text": (entry("annotations", 2, bbox=["10", 8, 20, 20]), "invalid annotation", THIRD),
        "true": (entry("annotations", 2, bbox=[True, 8, 20, 20]), "invalid annotation", THIRD),
        "three numbers": (entry("annotations", 2, bbox=[10, 8, 20]), "invalid annotation", THIRD),
        "no box": (entry("annotations", 2, bbox=None), "invalid annotation", THIRD),
        "a box in a box": (entry("annotations", 2, bbox=[[10, 8, 20, 20]]), "invalid annotation", THIRD),
        "inverted": (entry("annotations", 2, bbox=[10, 8, -5, 20]), "inverted box", THIRD),
        "outside": (entry("annotations", 2, bbox=[60, 8, 5, 20]), "box outside the image", THIRD),
        "above": (entry("annotations", 2, bbox=[1, -20, 5, 20]), "box outside the image", THIRD),
        "an unknown class": (entry("annotations", 2, category_id=8), "unknown box class", THIRD),
        "a class by position": (entry("annotations", 2, category_id=0), "unknown box class", THIRD),
        "no class": (entry("annotations", 2, category_id=None), "unknown box class", THIRD),
        "a list as class": (entry("annotations", 2, category_id=[7]), "unknown box class", THIRD),
        "a crowd of 2": (entry("annotations", 2, iscrowd=2), "invalid annotation", THIRD),
        "a negative area": (entry("annotations", 2, area=-1), "invalid annotation", THIRD),
        "an area that is none": (entry("annotations", 2, area=float("nan")), "invalid annotation", THIRD),
        "no id": (
            lambda root: entry("annotations", 2, id=None, bbox=[10])(root),
            "invalid annotation",
            r"instances.json annotations\[2\]",
        ),
        "a line for a polygon": (
            entry("annotations", 2, segmentation=[[1, 2, 3, 4]]),
            "invalid annotation",
            THIRD,
        ),
        "half a point": (entry("annotations", 2, segmentation=[[1, 2, 3, 4, 5, 6, 7]]), "invalid annotation", THIRD),
        "a flat polygon": (entry("annotations", 2, segmentation=[1, 2, 3, 4, 5, 6]), "invalid annotation", THIRD),
        "text in a polygon": (entry("annotations", 2, segmentation=[["x"] * 6]), "invalid annotation", THIRD),
        "NaN in a polygon": (entry("annotations", 2, segmentation=[[float("nan")] * 6]), "invalid annotation", THIRD),
        "a polygon far away": (entry("annotations", 2, segmentation=FAR), "invalid annotation", THIRD),
        "text for a mask": (entry("annotations", 2, segmentation="mask.png"), "invalid annotation", THIRD),
        "a mask of another size": (
            entry("annotations", 2, segmentation=ones(size=[60, 40])),
            "invalid annotation",
            THIRD,
        ),
        "too few runs": (entry("annotations", 2, segmentation=ones(counts=[0, 2399])), "invalid annotation", THIRD),
        "too many runs": (entry("annotations", 2, segmentation=ones(counts=[0, 10**12])), "invalid annotation", THIRD),
        "a negative run": (
            entry("annotations", 2, segmentation=ones(counts=[-1, 2401])),
            "invalid annotation",
            THIRD,
        ),
        "runs that are none": (entry("annotations", 2, segmentation=ones(counts=None)), "invalid annotation", THIRD),
        "runs of halves": (
            entry("annotations", 2, segmentation=ones(counts=[0.5, 2399.5])),
            "invalid annotation",
            THIRD,
        ),
        "packed runs cut off": (entry("annotations", 2, segmentation=ones(counts="P")), "invalid annotation", THIRD),
        "packed runs of another kind": (
            entry("annotations", 2, segmentation=ones(counts="~é\n")),
            "invalid annotation",
            THIRD,
        ),
        "packed runs without end": (
            entry("annotations", 2, segmentation=ones(counts="o" * 10_000)),
            "invalid annotation",
            THIRD,
        ),
        "another size": (entry("images", 1, width=61), "size mismatch", "instances.json image 999"),
        "a size in words": (entry("images", 1, width="60"), "size mismatch", "instances.json image 999"),
        "no width": (entry("images", 1, width=None), "size mismatch", "instances.json image 999"),
        "a negative size": (entry("images", 1, height=-40), "size mismatch", "instances.json image 999"),
        "no image": (lambda root: (root / "images/b.png").unlink(), "missing image", "instances.json image 999"),
        "an image elsewhere": (
            entry("images", 1, file_name="../../../etc/passwd"),
            "missing image",
            "instances.json image 999",
        ),
        "an image by a full path": (
            entry("images", 1, file_name="/etc/passwd"),
            "missing image",
            "instances.json image 999",
        ),
        "an image named in two lines": (
            entry("images", 1, file_name="b\n.png"),
            "missing image",
            "instances.json image 999",
        ),
        "an image listed twice": (
            coco(lambda c: c["images"].append(c["images"][1] | {"id": 5})),
            "image listed twice",
            "instances.json image 5",
        ),
        "an id of two images": (
            lambda root: (
                write_images([Picture("d", 9, 9, [])], root / "images"),
                coco(lambda c: c["images"].append({"id": 999, "file_name": "d.png", "width": 9, "height": 9}))(root),
            ),
            "image listed twice",
            "instances.json image 999",
        ),
        "an image without a name": (
            coco(lambda c: c["images"].append({"id": 5})),
            "invalid annotation",
            r"instances.json images\[3\]",
        ),
        "an image that is none": (
            coco(lambda c: c["images"].append("b.png")),
            "invalid annotation",
            r"instances.json images\[3\]",
        ),
        "a box of no image": (entry("annotations", 2, image_id=77), "invalid annotation", THIRD),
        "a box without image": (
            entry("annotations", 2, image_id=None),
            "invalid annotation",
            r"instances.json annotations\[2\]",
        ),
        "a box that is none": (
            coco(lambda c: c["annotations"].append(None)),
            "invalid annotation",
            r"instances.json annotations\[5\]",
        ),
    },
    "yolo": {
        "words": (line("a caption of the image"), "unknown box class", TEXT),
        "too few": (line("1 0.5 0.5 0.2"), "invalid annotation", TEXT),
        "too many": (line("1 0.5 0.5 0.2 0.2 0.9"), "invalid annotation", TEXT),
        "half a point": (line("1 .1 .1 .2 .2 .3 .3 .4"), "invalid annotation", TEXT),
        "NaN": (line("1 0.5 nan 0.2 0.2"), "invalid annotation", TEXT),
        "infinite": (line("1 0.5 0.5 inf 0.2"), "invalid annotation", TEXT),
        "a comma": (line("1 0,5 0.5 0.2 0.2"), "invalid annotation", TEXT),
        "an unknown class": (line("3 0.5 0.5 0.2 0.2"), "unknown box class", TEXT),
        "a negative class": (line("-1 0.5 0.5 0.2 0.2"), "unknown box class", TEXT),
        "half a class": (line("1.5 0.5 0.5 0.2 0.2"), "unknown box class", TEXT),
        "a class of other digits": (line("١ 0.5 0.5 0.2 0.2"), "unknown box class", TEXT),
        "an endless class": (line(f"{'9' * 9000} 0.5 0.5 0.2 0.2"), "unknown box class", TEXT),
        "a negative width": (line("1 0.5 0.5 -0.2 0.2"), "inverted box", TEXT),
        "pixels": (line("1 30 20 10 10"), "box outside the image", TEXT),
        "a polygon in pixels": (line("1 30 20 40 20 40 30"), "invalid annotation", TEXT),
        "a polygon outside": (line("1 1.1 1.1 1.2 1.1 1.2 1.2"), "box outside the image", TEXT),
        "bytes": (whole_text(b"\xff\xfe\x00\x01"), "invalid annotation", "labels/b.txt"),
        "zeros": (whole_text(bytes(1000)), "unknown box class", "labels/b.txt line 1"),
        "a folder": (replaced("labels/b.txt", Path.mkdir), "invalid annotation", "labels/b.txt"),
        "a link to nowhere": (
            replaced("labels/b.txt", lambda file: file.symlink_to("nowhere")),
            "invalid annotation",
            "labels/b.txt",
        ),
        "an endless file": (
            replaced("labels/b.txt", lambda file: file.symlink_to("/dev/zero")),
            "invalid annotation",
            "labels/b.txt",
        ),
        "no image": (lambda root: (root / "images/b.png").unlink(), "missing image", "labels/b.txt"),
    },
}
CASES = [(form, kind) for form, kinds in BAD.items() for kind in kinds]


def test_there_are_enough_kinds() -> None:
    assert len(CASES) >= 60


def boxes_of(root: Path, form: str) -> BoxTargets:
    dataset = open_dataset(str(root), ReadOptions(format=form))
    assert isinstance(dataset.train.targets, BoxTargets)
    return dataset.train.targets


@pytest.mark.parametrize(("form", "kind"), CASES)
def test_a_wrong_annotation_is_one_line_with_its_place_and_its_image_is_left_out(
    tmp_path: Path, form: str, kind: str
) -> None:
    change, category, where = BAD[form][kind]
    root = WRITERS[form](PICTURES, tmp_path / "set")
    assert not open_dataset(str(root)).bad_annotations
    change(root)
    dataset = open_dataset(str(root), ReadOptions(format=form))
    assert dataset.bad_annotations
    split, name, reason = dataset.bad_annotations[0]
    assert split == "train"
    assert reason.startswith(f"{category}: "), reason
    assert re.search(where, reason), reason
    assert reason.isprintable()
    assert name.isprintable()
    assert 20 < len(reason) < 250
    assert category in CATEGORIES
    assert name not in dataset.train.names
    kept = [Path(one).stem for one in dataset.train.names]
    assert kept == [stem for stem in "abc" if stem in kept]
    assert {"a", "c"} <= set(kept), "the others are used"


# boxes of b: the change, the boxes clipped and left out, and the boxes that remain
CORRECTED: dict[str, dict[str, tuple[Change, list[int], list[list[float]]]]] = {
    "voc": {
        "from 0": (xml("<xmin>11<", "<xmin>0<"), [1, 0], [[0, 8, 30, 28], [20, 10, 50, 36]]),
        "beyond": (xml("<xmax>50<", "<xmax>75.5<"), [1, 0], [[10, 8, 30, 28], [20, 10, 60, 36]]),
        "a click": (
            lambda root: (xml(">30<", ">11<")(root), xml(">28<", ">9<")(root)),
            [0, 1],
            [[20, 10, 50, 36]],
        ),
        "a stroke": (xml("<xmax>30<", "<xmax>11<"), [0, 1], [[20, 10, 50, 36]]),
    },
    "coco": {
        "negative": (
            entry("annotations", 2, bbox=[-5, -5, 20, 20]),
            [1, 0],
            [[0, 0, 15, 15], [20, 10, 50, 36]],
        ),
        "without width": (entry("annotations", 2, bbox=[10, 8, 0, 20]), [0, 1], [[20, 10, 50, 36]]),
        "a point outside": (entry("annotations", 2, bbox=[100, 100, 0, 0]), [0, 1], [[20, 10, 50, 36]]),
        "larger than the image": (
            entry("annotations", 2, bbox=[-1, -1, 1e300, 1e300]),
            [1, 0],
            [[0, 0, 60, 40], [20, 10, 50, 36]],
        ),
    },
    "yolo": {
        "over the edge": (line("1 0.9 0.5 0.4 0.5"), [1, 0], [[10, 8, 30, 28], [42, 10, 60, 30]]),
        "without height": (line("1 0.5 0.5 0.4 0"), [0, 1], [[10, 8, 30, 28]]),
        "a polygon over the edge": (
            line("1 0.5 0.5 1.2 0.5 1.2 0.75"),
            [1, 0],
            [[10, 8, 30, 28], [30, 20, 60, 30]],
        ),
    },
}


@pytest.mark.parametrize(("form", "kind"), [(form, kind) for form, kinds in CORRECTED.items() for kind in kinds])
def test_boxes_over_the_edge_are_clipped_and_boxes_without_area_left_out_and_both_are_counted(
    tmp_path: Path, form: str, kind: str
) -> None:
    change, counts, expected = CORRECTED[form][kind]
    root = WRITERS[form](PICTURES, tmp_path / "set")
    change(root)
    targets = boxes_of(root, form)
    assert targets.corrected.tolist() == [[0, 0], counts, [0, 0]]
    np.testing.assert_allclose(targets.boxes[targets.rows(1)], expected, atol=1e-6)
    assert (targets.areas <= (targets.boxes[:, 2:] - targets.boxes[:, :2]).prod(1) + 1e-6).all()


STOPS: dict[str, dict[str, tuple[Change, str]]] = {
    "coco": {
        "empty": (whole_json(""), "is not valid JSON"),
        "cut": (whole_json('{"images": [{"id": 1,'), r"is not valid JSON \(line 1"),
        "bytes": (whole_json(b"\xff\xfe\xfd"), "is not UTF-8"),
        "too deep": (whole_json("[" * 100_000), "is not valid JSON"),
        "a list": (whole_json("[]"), "has no list of images"),
        "lists that are none": (whole_json('{"images": {}, "annotations": 1}'), "has no list of images"),
        "no images": (coco(lambda c: c.update(images=[])), "has an empty list of images"),
        "no categories": (coco(lambda c: c.update(categories=[])), "has an empty list of categories"),
        "no list of categories": (coco(lambda c: c.pop("categories")), "has no list of categories"),
        "no list of annotations": (coco(lambda c: c.pop("annotations")), "has no list of annotations"),
        "a category without name": (entry("categories", 0, name=None), r"categories\[0\] has no id or no name"),
        "a category without id": (entry("categories", 1, id=None), r"categories\[1\] has no id or no name"),
        "a category in two lines": (entry("categories", 1, name="a\nb"), r"categories\[1\] has no id or no name"),
        "an id of two categories": (entry("categories", 1, id=90), "gives the category id 90 to zebra and ant"),
        "a digit without end": (whole_json('{"images": ' + "9" * 5000), "is not valid JSON"),
    },
    "voc": {
        "a list in bytes": (
            lambda root: (lists("")(root), (root / "ImageSets/Main/train.txt").write_bytes(b"\xff\xfe")),
            "train.txt cannot be read as UTF-8",
        ),
    },
    "yolo": {
        "no names": (lambda root: (root / "classes.txt").unlink(), "has YOLO labels without class names"),
        "empty names": (lambda root: (root / "classes.txt").write_text("\n"), "has no names of classes|has the name"),
        "a name twice": (
            lambda root: (root / "classes.txt").write_text("ant\nant\n"),
            "has the class name 'ant' twice",
        ),
        "a gap": (lambda root: (root / "classes.txt").write_text("ant\n\nmule\n"), "has the name '' for class 1"),
        "bytes": (lambda root: (root / "classes.txt").write_bytes(b"\xff\xfe"), "it is not UTF-8"),
    },
}
for kind, text, said in [
    ("a list", "- names: a\n- train: b\n", "is not a mapping"),
    ("unclosed", "names: [a\ntrain: x\n", "is not valid YAML (line "),
    ("tabs", "names:\n\t- a\ntrain: x\n", "is not valid YAML (line "),
    ("no names", "names:\ntrain: images\n", "has no names of classes"),
    ("a number of names", "names: 3\ntrain: images\n", "has no names of classes"),
    ("a name that is none", "names: [ant, null]\ntrain: images\n", "has the name None for class 1"),
    ("a yes for a name", "names: [ant, yes]\ntrain: images\n", "has the name True for class 1"),
    ("a name for a number", "names: {ant: 0}\ntrain: images\n", "has the name 0 for class 'ant'"),
    ("aliases", "names: &a [x]\ntrain: images\nmore: [*a, *a]\n", "it has aliases"),
    ("code", "names: !!python/object/apply:os.system ['true']\ntrain: images\n", "is not valid YAML (line 1"),
    ("too deep", f"train: images\nnames: {'[' * 1200}", "is not valid YAML"),
    ("a folder that is not there", "names: [a]\ntrain: nowhere\n", "train is 'nowhere', which does not exist"),
    ("a download", "names: [a]\ntrain: https://example.com/a.zip\n", "which does not exist"),
    ("a number for a folder", "names: [a]\ntrain: 3\n", "train is 3, not a folder"),
    ("an image for a folder", "names: [a]\ntrain: images/a.png\n", "give a folder, or a list of images"),
]:
    change_yaml: Change = lambda root, text=text: (root / "data.yaml").write_text(text)  # noqa: E731
    STOPS["yolo"][f"YAML: {kind}"] = (change_yaml, re.escape(said))


@pytest.mark.parametrize(("form", "kind"), [(form, kind) for form, kinds in STOPS.items() for kind in kinds])
def test_what_is_wrong_with_a_whole_file_stops_with_one_line(tmp_path: Path, form: str, kind: str) -> None:
    change, said = STOPS[form][kind]
    root = WRITERS[form](PICTURES, tmp_path / "set")
    change(root)
    with pytest.raises(DataError, match=said) as caught:
        open_dataset(str(root / "data.yaml" if "YAML" in kind else root), ReadOptions(format=form))
    assert str(caught.value).isprintable()
    assert str(root) in str(caught.value)
    assert len(str(caught.value)) < 400


MASKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "colour": (lambda file: Image.new("RGB", (60, 40)).save(file), "it has several channels"),
    "another size": (lambda file: Image.new("L", (61, 40)).save(file), "the recorded size is 61 x 40"),
    "no mask": (lambda file: file.unlink(), "there is no mask of that name"),
    "text": (lambda file: file.write_text("mask"), "it is not an image that can be read"),
    "cut": (lambda file: file.write_bytes(file.read_bytes()[:50]), "it is not an image that can be read"),
}


@pytest.mark.parametrize("kind", MASKS)
def test_a_wrong_mask_is_one_line(tmp_path: Path, kind: str) -> None:
    write_images(PICTURES, tmp_path / "images")
    (tmp_path / "masks").mkdir()
    for one in PICTURES:
        grid = np.zeros((one.height, one.width), np.uint8)
        grid[5:15, 5:20] = 1
        Image.fromarray(grid).save(tmp_path / "masks" / f"{one.stem}.png")
    change, said = MASKS[kind]
    assert not open_dataset(str(tmp_path), ReadOptions(format="masks")).bad_annotations
    change(tmp_path / "masks" / "b.png")
    ((_, name, reason),) = open_dataset(str(tmp_path), ReadOptions(format="masks")).bad_annotations
    assert name == "images/b.png"
    assert re.search(rf"^(invalid annotation|size mismatch): masks/b(\.png)?: {said}", reason), reason


@pytest.mark.parametrize("form", WRITERS)
def test_any_bytes_changed_in_an_annotation_end_in_a_data_set_or_one_line(tmp_path: Path, form: str) -> None:
    root = WRITERS[form](PICTURES, tmp_path / "set")
    file = root / {"voc": "Annotations/b.xml", "coco": "instances.json", "yolo": "labels/b.txt"}[form]
    content = file.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        changed = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            changed[place] = rng.choice(list(b'0159-.e,:"{}[]<>&x \n\xff'))
        file.write_bytes(bytes(changed))
        try:
            dataset = open_dataset(str(root), ReadOptions(format=form))
        except DataError as error:
            assert str(error).isprintable()
        else:
            assert all(reason.isprintable() for _, _, reason in dataset.bad_annotations)
            assert np.isfinite(dataset.train.targets.boxes).all()
