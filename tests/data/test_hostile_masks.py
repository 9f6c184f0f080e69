"""Every wrong mask is one line with its file, and its image is left out; or, if what the values mean cannot be known,
opening the data stops with one line."""

import io
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from skipway.data import open_dataset
from skipway.data.mask_targets import MaskTargets
from skipway.data.quality.issues import CATEGORIES
from skipway.data.read_options import ReadOptions
from skipway.errors import DataError
from tests.data.masks import CLASSES, COLOURS, scenes, write_coco, write_colours, write_folders

WIDTH, HEIGHT = 60, 40
VALUES = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 4  # all four classes
DRAWN = [one._replace(stem=f"im{i:02}", labels=VALUES.copy()) for i, one in enumerate(scenes(3))]
Change = Callable[[Path], object]
MASK = "masks/im01.png"


def png(values: np.ndarray, **how: Any) -> Change:
    def change(root: Path) -> None:
        Image.fromarray(values).save(root / MASK, **how)

    return change


def picture(mode: str, kind: str = "PNG") -> Change:
    """The mask as an image of a mode and a format, whatever its suffix."""

    def change(root: Path) -> None:
        image = Image.new(mode, (WIDTH, HEIGHT))
        image.save(root / MASK, format=kind)

    return change


def content(data: bytes) -> Change:
    return lambda root: (root / MASK).write_bytes(data)


def replaced(make: Callable[[Path], object]) -> Change:
    def change(root: Path) -> None:
        (root / MASK).unlink()
        make(root / MASK)

    return change


def array(values: np.ndarray) -> Change:
    def change(root: Path) -> None:
        (root / MASK).unlink()
        np.save(root / MASK.replace(".png", ".npy"), values)

    return change


def pickled(root: Path) -> None:
    (root / MASK).unlink()
    np.save(root / MASK.replace(".png", ".npy"), np.array([{}], dtype=object), allow_pickle=True)


def frames(kind: str) -> Change:
    def change(root: Path) -> None:
        one, two = (Image.fromarray(VALUES + i) for i in (0, 1))
        one.save(root / MASK, format=kind, save_all=True, append_images=[two])

    return change


def second_mask(root: Path) -> None:
    Image.fromarray(VALUES).save(root / "masks" / "im01_mask.png")


def bomb(root: Path) -> None:
    data = bytearray((root / MASK).read_bytes())
    data[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height in the header, and then its checksum
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    (root / MASK).write_bytes(bytes(data))


def transparent() -> np.ndarray:
    colours = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    colours[:, 30:, 3] = 255
    return colours


def several(value: int) -> np.ndarray:
    changed = VALUES.astype(np.uint16)
    changed[:, :20] = value
    return changed


def cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


def encoded(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "PNG")
    return stream.getvalue()


NOISE = np.random.default_rng(0).integers(0, 4, (HEIGHT, WIDTH), dtype=np.uint8)
ONE_OFF = several(3)
ONE_OFF[3, 3] = 77

# what is wrong: the change, the category, and what the line says; the named classes are those of values 0 to 3
BAD: dict[str, tuple[Change, str, str]] = {
    "no mask": (lambda root: (root / MASK).unlink(), "missing mask", "there is no mask of that name"),
    "two masks": (second_mask, "missing mask", "there are 2 masks of that name"),
    "no image": (lambda root: (root / "images/im01.png").unlink(), "missing image", "there is no image"),
    "a wider mask": (png(np.zeros((HEIGHT, 61), np.uint8)), "size mismatch", "the mask has 61 x 40 pixels"),
    "a lower mask": (png(np.zeros((39, WIDTH), np.uint8)), "size mismatch", "the mask has 60 x 39 pixels"),
    "half the size": (png(VALUES[::2, ::2]), "size mismatch", "the mask has 30 x 20 pixels, and the image 60 x 40"),
    "turned without EXIF": (png(VALUES.T.copy()), "size mismatch", "the mask has 40 x 60 pixels"),
    "one pixel": (png(np.zeros((1, 1), np.uint8)), "size mismatch", "the mask has 1 x 1 pixels"),
    "empty file": (content(b""), "invalid annotation", "it has no bytes"),
    "text": (content(b"a mask"), "invalid annotation", "it is not an image that can be read"),
    "HTML": (content(b"<!doctype html><p>404"), "invalid annotation", "it is not an image that can be read"),
    "zeros": (content(bytes(1000)), "invalid annotation", "it is not an image that can be read"),
    "cut in the header": (content(encoded(NOISE)[:20]), "invalid annotation", "it is not an image that can be read"),
    "cut in the pixels": (content(cut(encoded(NOISE), 0.7)), "invalid annotation", "it is not an image"),
    "wrong checksum": (
        content(encoded(NOISE).replace(b"IDAT", b"IDAX")),
        "invalid annotation",
        "it is not an image that can be read",
    ),
    "a bomb": (bomb, "invalid annotation", "too large to decode safely"),
    "a folder": (replaced(Path.mkdir), "missing mask", "there is no mask of that name"),
    "a link to nowhere": (replaced(lambda file: file.symlink_to("nowhere")), "invalid annotation", "it does not exist"),
    "a link to itself": (replaced(lambda file: file.symlink_to(file.name)), "invalid annotation", "it is not an image"),
    "a JPEG": (picture("L", "JPEG"), "invalid annotation", "it is a JPEG, which changes the values of pixels"),
    "a JPEG in colour": (picture("RGB", "JPEG"), "invalid annotation", "it is a JPEG"),
    "colours without a table": (
        png(COLOURS[VALUES]),
        "invalid annotation",
        "it has several channels: name its colours",
    ),
    "transparent": (png(transparent()), "invalid annotation", "it has transparent pixels"),
    "grey with alpha": (picture("LA"), "invalid annotation", "it has transparent pixels"),
    "CMYK": (picture("CMYK", "TIFF"), "invalid annotation", "it has channels of the kind CMYK"),
    "YCbCr": (picture("YCbCr", "TIFF"), "invalid annotation", "it has channels of the kind YCbCr"),
    "floating point": (picture("F", "TIFF"), "invalid annotation", "it has channels of the kind F"),
    "a negative value": (
        lambda root: Image.fromarray(VALUES.astype(np.int32) - 1).save(root / MASK, format="TIFF"),
        "invalid annotation",
        "it has values from -1 to 2",
    ),
    "32 bits": (
        lambda root: Image.fromarray(VALUES.astype(np.int32) + 70_000).save(root / MASK, format="TIFF"),
        "invalid annotation",
        "it has values from 70000 to 70003",
    ),
    "an animation": (frames("GIF"), "invalid annotation", "it has 2 frames"),
    "an animated PNG": (frames("PNG"), "invalid annotation", "it has 2 frames"),
    "pages": (frames("TIFF"), "invalid annotation", "it has 2 frames"),
    "a value without a class": (png(several(9)), "unknown mask value", r"no class has its values 9 \(800 pixels\)"),
    "one pixel without a class": (png(ONE_OFF), "unknown mask value", r"values 77 \(1 pixels\)"),
    "16-bit scaled labels": (png(VALUES.astype(np.uint16) * 257), "unknown mask value", r"values 257 \(600 pixels\)"),
    "many values": (png(np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH)), "unknown", "and 248 more"),
    "a value of 16 bits": (png(several(65535)), "unknown mask value", "65535"),
    "all ignored": (png(np.full((HEIGHT, WIDTH), 255, np.uint8)), "nothing labelled", "all of its pixels are ignored"),
    "an array of floats": (array(VALUES.astype(np.float32)), "invalid annotation", "it has dtype float32"),
    "an array of colours": (array(COLOURS[VALUES]), "invalid annotation", r"it has the shape \(40, 60, 3\)"),
    "an array of another size": (array(VALUES[:20]), "size mismatch", "the mask has 60 x 20 pixels"),
    "a negative array": (array(VALUES.astype(np.int16) - 1), "invalid annotation", "it has values from -1 to 2"),
    "an empty array": (array(np.zeros((0, 0), np.uint8)), "invalid annotation", "it has the shape"),
    "an array of text": (array(VALUES.astype(str)), "invalid annotation", "it has dtype"),
    "a pickle": (pickled, "invalid annotation", "it is not an image that can be read"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_wrong_mask_is_one_line_and_its_image_is_left_out(tmp_path: Path, kind: str) -> None:
    change, category, said = BAD[kind]
    root = write_folders(DRAWN, tmp_path / "set")
    change(root)
    dataset = open_dataset(str(root), ReadOptions(format="semantic"))
    ((split, name, reason),) = dataset.bad_annotations
    assert split == "train"
    assert "im01" in name
    assert re.match(rf"({category})[^:]*: masks/im01\S*: .*{said}", reason), reason
    assert reason.partition(": ")[0] in CATEGORIES
    assert reason.isprintable()
    assert len(reason) < 250
    assert dataset.classes == CLASSES
    assert len(dataset.train) == 2
    assert all("im01" not in one for one in dataset.train.names)


def test_values_only_in_val_are_errors_of_their_images_and_no_classes(tmp_path: Path) -> None:
    for split, high in (("train", 3), ("val", 4)):
        write_folders([one._replace(labels=one.labels.clip(max=2)) for one in DRAWN], tmp_path / split)
        (tmp_path / split / "classes.txt").unlink()
        Image.fromarray(VALUES * (high // 3) + high // 4).save(tmp_path / split / MASK)
    dataset = open_dataset(str(tmp_path), ReadOptions(format="semantic"))
    assert dataset.classes == ("0", "1", "2", "3")
    ((split, name, reason),) = dataset.bad_annotations
    assert (split, name) == ("val", "val/images/im01.png")
    assert reason == "unknown mask value: val/masks/im01.png: no class has its values 4 (600 pixels)"


COLOURED: dict[str, tuple[Change, str, str]] = {
    "a colour that is not in the table": (
        png(np.full((HEIGHT, WIDTH, 3), (1, 2, 3), np.uint8)),
        "unknown mask value",
        r"no class has its colours \(1, 2, 3\) \(2,400 pixels\)",
    ),
    "smoothed colours": (
        lambda root: Image.fromarray(COLOURS[VALUES]).resize((30, 20)).resize((WIDTH, HEIGHT)).save(root / MASK),
        "unknown mask value",
        "and [0-9]+ more",
    ),
    "transparent": (png(transparent()), "invalid annotation", "it has transparent pixels"),
    "16-bit grey": (png(VALUES.astype(np.uint16)), "invalid annotation", "it has no colours but values"),
    "an array": (array(VALUES), "invalid annotation", "it is an array, and the classes are given by colours"),
}


@pytest.mark.parametrize("kind", COLOURED)
def test_a_wrong_coloured_mask_is_one_line(tmp_path: Path, kind: str) -> None:
    change, category, said = COLOURED[kind]
    root = write_colours(DRAWN, tmp_path / "set")
    change(root)
    dataset = open_dataset(str(root), ReadOptions(format="semantic"))
    ((_, _, reason),) = dataset.bad_annotations
    assert re.match(rf"{category}: masks/im01\S*: .*{said}", reason), reason
    assert reason.isprintable()
    assert dataset.classes == CLASSES


def names(text: str | bytes, file: str = "classes.txt") -> Change:
    data = text.encode() if isinstance(text, str) else text

    def change(root: Path) -> None:
        (root / "classes.txt").unlink()
        (root / file).write_bytes(data)

    return change


def every_mask(values: Callable[[np.ndarray], np.ndarray]) -> Change:
    def change(root: Path) -> None:
        (root / "classes.txt").unlink()
        for file in (root / "masks").iterdir():
            Image.fromarray(values(np.asarray(Image.open(file)))).save(file)

    return change


def smooth(values: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[:80, :120]
    disc = ((rows - 40) ** 2 + (columns - 60) ** 2 < 1200) * np.uint8(255)
    return np.asarray(Image.fromarray(disc).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR))


MANY = (np.arange(HEIGHT * WIDTH) % 300).astype(np.uint16).reshape(HEIGHT, WIDTH)
STOPS: dict[str, tuple[Change, ReadOptions, str]] = {
    "an empty table": (names("\n"), ReadOptions(), "names no class"),
    "a name twice": (names("a\nb\na\nd\n"), ReadOptions(), "has the class name 'a' twice"),
    "a value twice": (names("0 a\n1 b\n1 c\n"), ReadOptions(), "has the value of 'c' twice"),
    "a value too high": (names("0 a\n70000 b\n"), ReadOptions(), "line 2 has the number 70000: write 0 to 65535"),
    "a colour too high": (names("0 0 0 a\n0 0 256 b\n"), ReadOptions(), "line 2 has the number 256: write 0 to 255"),
    "bytes": (names(b"\xff\xfe\x00"), ReadOptions(), "is not UTF-8"),
    "an unprintable name": (names("a\x07\nb\nc\nd\n"), ReadOptions(), "has the class name"),
    "too few names": (names("a\nb\n"), ReadOptions(), "has 2 names, and the masks have 4 values, 0 to 3"),
    "broken JSON": (names("[", "classes.json"), ReadOptions(), "is not valid JSON"),
    "JSON of a number": (names("3", "classes.json"), ReadOptions(), "is neither a list nor an object"),
    "JSON of lists": (names("[[1]]", "classes.json"), ReadOptions(), "gives list the value None"),
    "JSON of halves": (names('{"a": 0.5}', "classes.json"), ReadOptions(), "gives 'a' the value 0.5"),
    "a table of colours for grey masks": (
        names("9 9 9 a\n8 8 8 b\n", "label_colors.txt"),
        ReadOptions(),
        "has 2 names, and the masks have 4 values",
    ),
    "an ignored class that is none": (lambda root: None, ReadOptions(ignore="sky"), "--ignore 'sky' is no class of"),
    "one name as an option": (lambda root: None, ReadOptions(class_names="road"), "'road' is no file"),
    "other names as an option": (lambda root: None, ReadOptions(class_names="a,b"), "--class-names has 2 names"),
    "a name twice as an option": (lambda root: None, ReadOptions(class_names="a,b,a,c"), "the class name 'a' twice"),
    "masks resized smoothly": (every_mask(smooth), ReadOptions(), "as smooth resizing leaves them"),
    "300 values": (every_mask(lambda one: MANY), ReadOptions(), "has masks of 299 values, and at most 255"),
}


@pytest.mark.parametrize("kind", STOPS)
def test_what_makes_the_values_unknown_stops_with_one_line(tmp_path: Path, kind: str) -> None:
    change, reading, said = STOPS[kind]
    root = write_folders(DRAWN, tmp_path / "set")
    change(root)
    with pytest.raises(DataError, match=said) as caught:
        open_dataset(str(root), ReadOptions(format="semantic", ignore=reading.ignore, class_names=reading.class_names))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def coco_change(change: Callable[[dict[str, Any]], object]) -> Change:
    def apply(root: Path) -> None:
        file = root / "annotations" / "instances_train.json"
        lists = json.loads(file.read_text())
        change(lists)
        file.write_text(json.dumps(lists))

    return apply


OBJECTS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "only a box": (lambda lists: lists["annotations"][0].pop("segmentation"), "a box but no segmentation"),
    "a line": (lambda lists: lists["annotations"][0].update(segmentation=[[1, 2, 3, 4]]), "at least 3 points"),
    "no such class": (lambda lists: lists["annotations"][0].update(category_id=77), "category_id 77"),
    "another size": (lambda lists: lists["images"][0].update(width=9), "the recorded size is 9 x"),
    "no image": (lambda lists: lists["images"][0].update(file_name="q.png"), "there is no image"),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_a_wrong_object_is_one_line(tmp_path: Path, kind: str) -> None:
    change, said = OBJECTS[kind]
    root = write_coco(scenes(6), tmp_path / "set")
    coco_change(change)(root)
    dataset = open_dataset(str(root), ReadOptions(format="coco-semantic"))
    ((split, _, reason),) = dataset.bad_annotations
    assert split == "train"
    assert re.search(rf"^[a-z ]+: annotations/instances_train.json .*{said}", reason), reason


def test_wrong_rows_of_tables_and_parquet_are_left_out(tmp_path: Path) -> None:
    root = write_folders(DRAWN, tmp_path / "set")
    rows = ["images/im00.png,masks/im00.png", "images/im01.png,masks/gone.png", "images/gone.png,masks/im02.png"]
    (root / "pairs.csv").write_text("\n".join(["image,mask", *rows]))
    dataset = open_dataset(str(root / "pairs.csv"))
    assert [reason for _, _, reason in sorted(dataset.bad_annotations)] == [
        "missing image: pairs.csv row 4, masks/im02.png: there is no image for this mask",
        "invalid annotation: pairs.csv row 3, masks/gone.png: it does not exist",
    ]
    cells = [{"bytes": (root / "masks" / f"im0{i}.png").read_bytes()} for i in range(3)]
    images = [{"bytes": (root / "images" / f"im0{i}.png").read_bytes()} for i in range(3)]
    cells[1] = {"bytes": b""}
    pq.write_table(pa.table({"image": images, "mask": cells}), tmp_path / "one.parquet")
    dataset = open_dataset(str(tmp_path / "one.parquet"))
    ((_, name, reason),) = dataset.bad_annotations
    assert name == "one.parquet[1]"
    assert reason == "invalid annotation: one.parquet[1]: one.parquet row 1 has no image bytes"
    assert len(dataset.train.items) == 2
    assert dataset.train.items[1] == images[2]["bytes"]


@pytest.mark.parametrize("row", ["images/im00.png,", "images/im00.png,../masks/im00.png", ",masks/im00.png"])
def test_a_row_without_paths_in_the_folder_stops(tmp_path: Path, row: str) -> None:
    root = write_folders(DRAWN, tmp_path / "set")
    (root / "pairs.csv").write_text(f"image,mask\nimages/im01.png,masks/im01.png\n{row}\n")
    with pytest.raises(DataError, match=r"pairs.csv row 3"):
        open_dataset(str(root / "pairs.csv"))


@pytest.mark.filterwarnings("ignore:.*[Tt]ag.*:UserWarning")  # Pillow's, of tags that a TIFF can do without
def test_any_bytes_changed_in_a_mask_end_in_a_data_set_or_one_line(tmp_path: Path) -> None:
    root = write_folders(DRAWN, tmp_path / "set")
    rng = np.random.default_rng(0)
    for kind in ("PNG", "TIFF", "BMP", "GIF"):
        stream = io.BytesIO()
        Image.fromarray(VALUES).save(stream, kind)
        for _ in range(25):
            changed = bytearray(stream.getvalue())
            for place in rng.integers(0, len(changed), rng.integers(1, 4)):
                changed[place] = rng.integers(0, 256)
            (root / MASK).write_bytes(bytes(changed))
            dataset = open_dataset(str(root), ReadOptions(format="semantic"))
            assert all(reason.isprintable() and len(reason) < 300 for _, _, reason in dataset.bad_annotations)
            targets = dataset.train.targets
            assert isinstance(targets, MaskTargets)
            assert all(targets.label_map(i).shape == (HEIGHT, WIDTH) for i in range(len(targets)))


def test_any_bytes_changed_in_a_table_end_in_a_data_set_or_one_line(tmp_path: Path) -> None:
    root = write_colours(DRAWN, tmp_path / "set")
    text = (root / "label_colors.txt").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(40):
        changed = bytearray(text)
        for place in rng.integers(0, len(changed), rng.integers(1, 4)):
            changed[place] = rng.choice(list(b'0159-.,:"#[] \n\t\xff\x00a'))
        (root / "label_colors.txt").write_bytes(bytes(changed))
        try:
            dataset = open_dataset(str(root), ReadOptions(format="semantic"))
        except DataError as error:
            assert str(error).isprintable()
        else:
            assert all(reason.isprintable() for _, _, reason in dataset.bad_annotations)
