"""Data sets for object detection are recognised by their layout; class folders train whatever lies beside them."""

import json
import os
from pathlib import Path

import pytest

from skipway.data import open_dataset
from skipway.data.formats.detection_layouts import WINDOW, find_detection_format
from skipway.errors import DataError

XML = '<?xml version="1.0"?>\n<annotation verified="no">\n<object><name>RBC</name></object></annotation>'
COCO = {
    "info": {"year": 2017},
    "images": [{"id": 1, "file_name": "0.jpg", "width": 4, "height": 4}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 2, 2], "iscrowd": 0}],
    "categories": [{"id": 2, "name": "cat"}],
}
BOX = "0 0.5 0.5 0.25 0.25\n"
YAML = "path: ../set\ntrain: images/train\nval: images/val\nnames:\n  0: person\n"


def fill(root: Path, files: dict[str, str]) -> Path:
    for file, text in files.items():
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(text)
    return root


def jpegs(folder: str, count: int = 3) -> dict[str, str]:
    return {f"{folder}/{i}.jpg": "image" for i in range(count)}


def texts(folder: str, text: str, ending: str, count: int = 3) -> dict[str, str]:
    return {f"{folder}/{i}{ending}": text for i in range(count)}


coco = json.dumps(COCO)
# files, and the format
LAYOUTS = {
    "voc": (
        jpegs("JPEGImages", 4) | texts("Annotations", XML, ".xml"),
        "voc",
    ),
    "voc with masks": (
        jpegs("JPEGImages")
        | texts("Annotations", XML, ".xml")
        | jpegs("SegmentationClass", 2)
        | jpegs("SegmentationObject", 2)
        | {"ImageSets/Main/train.txt": "0\n"},
        "voc",
    ),
    "voc devkit": (
        jpegs("VOC2007/JPEGImages", 2)
        | texts("VOC2007/Annotations", XML, ".xml", 2)
        | jpegs("VOC2012/JPEGImages", 5)
        | texts("VOC2012/Annotations", XML, ".xml", 5),
        "voc",
    ),
    "voc archive": (
        jpegs("VOCdevkit/VOC2007/JPEGImages") | texts("VOCdevkit/VOC2007/Annotations", XML, ".xml", 1),
        "voc",
    ),
    "voc beside the images": (
        jpegs(".") | texts(".", XML, ".xml"),
        "voc",
    ),
    "voc beside the images of splits": (
        jpegs("train") | texts("train", XML, ".xml") | jpegs("valid", 1) | texts("valid", XML, ".xml", 1),
        "voc",
    ),
    "coco": (
        jpegs("images") | {"instances.json": coco},
        "coco",
    ),
    "coco of 2017": (
        jpegs("train2017")
        | jpegs("val2017", 1)
        | {"annotations/instances_train2017.json": coco, "annotations/instances_val2017.json": coco}
        | {"annotations/captions_val2017.json": '{"images": [], "annotations": [{"caption": "a cat"}]}'},
        "coco",
    ),
    "coco beside image folders": (
        jpegs("train2017") | jpegs("val2017", 1) | {"train.json": coco},
        "coco",
    ),
    "coco in splits": (
        jpegs("train") | jpegs("test", 1) | {"train/_a.coco.json": coco, "test/_a.coco.json": coco},
        "coco",
    ),
    "coco of loose images": (
        jpegs(".") | {"labels.json": coco},
        "coco",
    ),
    "yolo": (
        jpegs("images") | texts("labels", BOX, ".txt", 2),
        "yolo",
    ),
    "yolo in splits": (
        jpegs("images/train") | jpegs("images/val", 1) | texts("labels/train", BOX, ".txt", 2),
        "yolo",
    ),
    "yolo below splits": (
        jpegs("train/images") | texts("train/labels", BOX, ".txt") | {"data.yaml": YAML, "README.txt": "read me"},
        "yolo",
    ),
    "yolo of polygons and an image without objects": (
        jpegs("images") | {"labels/0.txt": "", "labels/1.txt": "3 0.1 0.1 0.2 0.1 0.2 0.2\n"},
        "yolo",
    ),
    "yolo beside the images": (
        jpegs(".") | texts(".", BOX, ".txt") | {"classes.txt": "cat"},
        "yolo",
    ),
    "yolo by its yaml": (
        jpegs("images") | {"set.yaml": YAML},
        "yolo",
    ),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_the_format_of_a_data_set_for_detection_is_found(tmp_path: Path, kind: str) -> None:
    files, name = LAYOUTS[kind]
    root = fill(tmp_path / "set", files)
    assert find_detection_format(root) == name
    if YAML in files.values():
        with pytest.raises(DataError, match="train is 'images/train', which does not exist"):
            open_dataset(str(root))
        return
    if name == "yolo":
        (root / "classes.txt").write_text("a\nb\nc\nd\n")
    assert open_dataset(str(root)).task == "detect"


classes = jpegs("cat") | jpegs("dog")
TRAINS = {
    "a JSON": classes | {"meta.json": '{"images": 6}', "package.json": "{}"},
    "COCO's JSON": classes | {"instances.json": coco, "annotations/all.json": coco},
    "XML beside images": classes | texts("cat", XML, ".xml"),
    "boxes in every class": classes | texts("cat", BOX, ".txt") | texts("dog", BOX, ".txt"),
    "YAML": classes | {"data.yaml": YAML},
    "splits and COCO's JSON": jpegs("train/cat") | jpegs("train/dog") | {"train/a.json": coco, "instances.json": coco},
    "image folders in classes": jpegs("cat/images") | jpegs("dog/images") | {"cat/boxes.txt": BOX, "a.json": coco},
}


@pytest.mark.parametrize("kind", TRAINS)
def test_class_folders_train_whatever_lies_beside_them(tmp_path: Path, kind: str) -> None:
    files = {name: text for name, text in TRAINS[kind].items() if not name.startswith("annotations/")}
    root = fill(tmp_path / "set", files)
    dataset = open_dataset(str(root))
    assert dataset.classes == ("cat", "dog")
    assert dataset.train.counts(2).tolist() == [3, 3]
    assert find_detection_format(fill(root, TRAINS[kind])) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        '{"images": 3, "annotations": 4, "categories": 5}',
        '{"images": [{"file_name": "0.jpg", "label": "cat"}]}',
        '[{"image_id": 42, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 0.2}]',  # COCO's results hold no data set
        '{"shapes": [{"label": "cat", "points": []}], "imagePath": "0.jpg"}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "\x00" * 1000,
        '"images"' + " " * 500_000,
    ],
)
def test_a_json_of_another_kind_says_nothing(tmp_path: Path, text: str) -> None:
    root = fill(tmp_path / "set", jpegs(".") | {"labels.json": text})
    assert find_detection_format(root) is None
    with pytest.raises(DataError, match="3 images but no class folders"):
        open_dataset(str(root))


@pytest.mark.parametrize(
    "files",
    [
        {"Annotations/0.xml": "<svg/>", "Annotations/1.xml": ""},
        {"labels/0.txt": "a caption of the image\n"},
        {"labels/0.txt": "1 2 3\n"},
        {"labels/0.txt": ""},
        {"set.yaml": "names: [a]\n"},
        {"set.yaml": "  names: [a]\n  train: x\n"},
    ],
)
def test_files_named_like_annotations_that_are_none_say_nothing(tmp_path: Path, files: dict[str, str]) -> None:
    assert find_detection_format(fill(tmp_path / "set", jpegs("JPEGImages") | jpegs("images") | files)) is None


@pytest.mark.parametrize("order", ["images first", "annotations first"])
def test_of_a_huge_json_the_ends_are_looked_at(tmp_path: Path, order: str) -> None:
    root = fill(tmp_path / "set", jpegs("images"))
    image, box = json.dumps(COCO["images"][0]), json.dumps(COCO["annotations"][0])
    first, last = ("images", box) if order == "images first" else ("annotations", image)
    with (root / "instances.json").open("wb") as stream:
        stream.write(f'{{"{first}": [{image if first == "images" else box}, '.encode())
        stream.seek(1 << 36)  # 64 GiB of nothing between the ends, which nobody could read
        stream.write(f'{last}], "categories": [{{"id": 2, "supercategory": "x"}}]}}'.encode())
    assert find_detection_format(root) == "coco"


def test_annotations_that_are_no_files_or_lead_nowhere_hold_nobody_up(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", jpegs("images"))
    os.mkfifo(root / "pipe.json")
    os.mkfifo(root / "pipe.yaml")
    (root / "endless.json").symlink_to("/dev/zero")
    (root / "gone.json").symlink_to("nowhere")
    (root / "round.json").symlink_to("round.json")
    (root / "folder.json").mkdir()
    (root / "labels").symlink_to(root, target_is_directory=True)
    assert find_detection_format(root) is None
    (root / "instances.json").write_text(coco)
    assert find_detection_format(root) == "coco"


def test_few_of_many_annotations_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = texts("Annotations", "<other/>", ".xml", 300) | texts("labels", "", ".txt", 300) | jpegs("JPEGImages")
    root = fill(tmp_path / "set", files | texts(".", "{}", ".json", 300))
    read: list[int] = []
    plain = Path.open

    def counted(self: Path, *args: object, **kwargs: object) -> object:
        read.append(min(self.stat().st_size, 2 * WINDOW))
        return plain(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", counted)
    assert find_detection_format(root) is None
    assert 3 <= len(read) <= 60


def test_real_data_sets_are_what_they_are(shared_data: Path) -> None:
    found = {name: find_detection_format(shared_data / name) for name in ("bccd", "coco", "photos", "camvid")}
    assert found == {"bccd": "voc", "coco": "coco", "photos": None, "camvid": None}
    assert find_detection_format(shared_data / "coco" / "fixture") == "coco"
