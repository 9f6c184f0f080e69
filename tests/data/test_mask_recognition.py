"""What the values of masks mean is recognised from their values, a table of names, and two options."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipway.data import open_dataset
from skipway.data.dataset import Dataset
from skipway.data.formats.class_table import ClassRow, read_class_table
from skipway.data.mask_targets import IGNORE, MaskTargets
from skipway.data.read_options import ReadOptions
from skipway.errors import DataError


def opened(tmp_path: Path, *masks: np.ndarray, ignore: str = "", names: str = "", table: str = "") -> Dataset:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir(parents=True)
    for i, mask in enumerate(masks):
        Image.fromarray(np.full((*mask.shape[:2], 3), i, np.uint8)).save(tmp_path / "images" / f"{i}.png")
        Image.fromarray(mask).save(tmp_path / "labels" / f"{i}.png")
    if table:
        (tmp_path / "classes.txt").write_text(table)
    return open_dataset(str(tmp_path), ReadOptions(ignore=ignore, class_names=names))


def of(*values: int, kind: type = np.uint8) -> np.ndarray:
    """A mask with the values in columns."""
    return np.repeat(np.array([values], kind), 5, axis=0).repeat(4, axis=1)


def labels(dataset: Dataset, place: int = 0) -> list[int]:
    assert isinstance(dataset.train.targets, MaskTargets)
    return dataset.train.targets.label_map(place)[0, ::4].tolist()


def test_values_without_names_are_the_names_and_255_is_ignored(tmp_path: Path) -> None:
    dataset = opened(tmp_path, of(0, 2, 255), of(7, 0, 0))
    assert dataset.classes == ("0", "2", "7")
    assert labels(dataset) == [0, 1, IGNORE]
    assert "0, 2, 7" in dataset.remarks[-1]
    assert "ignored: 255" in dataset.remarks[-1]


def test_masks_of_0_and_255_are_background_and_foreground(tmp_path: Path) -> None:
    dataset = opened(tmp_path, of(0, 255), of(0, 0), of(255, 255))
    assert dataset.classes == ("background", "foreground")
    assert [labels(dataset, i) for i in range(3)] == [[0, 1], [0, 0], [1, 1]]


def test_masks_of_one_bit_are_background_and_foreground(tmp_path: Path) -> None:
    dataset = opened(tmp_path, of(0, 1, kind=bool), of(0, 255))
    assert dataset.classes == ("background", "foreground")
    assert [labels(dataset, i) for i in range(2)] == [[0, 1], [0, 1]]


def test_a_stray_value_in_masks_of_0_and_255_is_an_error_and_ignores_no_foreground(tmp_path: Path) -> None:
    dataset = opened(tmp_path, of(0, 255), of(0, 255), of(0, 128, 255))
    assert dataset.classes == ("background", "foreground")
    assert [name for _, name, _ in dataset.bad_annotations] == ["images/2.png"]


def test_names_of_0_and_255_are_in_this_order(tmp_path: Path) -> None:
    dataset = opened(tmp_path, of(0, 255), names="skin,lesion")
    assert dataset.classes == ("skin", "lesion")
    assert labels(dataset) == [0, 1]


def test_255_beside_other_values_is_ignored_also_with_names(tmp_path: Path) -> None:
    dataset = opened(tmp_path, of(0, 1, 255), of(2, 1, 0), names="a,b,c")
    assert dataset.classes == ("a", "b", "c")
    assert labels(dataset) == [0, 1, IGNORE]


def test_a_table_may_name_255(tmp_path: Path) -> None:
    dataset = opened(tmp_path, of(0, 1, 255), table="0 sky\n1 sea\n255 border\n")
    assert dataset.classes == ("sky", "sea", "border")
    assert labels(dataset) == [0, 1, 2]


def test_ignored_values_leave_their_names_out(tmp_path: Path) -> None:
    dataset = opened(tmp_path, of(0, 1, 2), of(2, 3, 3), ignore="0,3", names="a,b")
    assert dataset.classes == ("a", "b")
    assert labels(dataset) == [IGNORE, 0, 1]


NUMBERED = {  # values of the masks, --ignore, and names: the value of each class
    "names of all values": ((0, 1, 2), "0", "ground,tree,house", {"tree": 1, "house": 2}),
    "names of the rest": ((0, 1, 2), "0", "tree,house", {"tree": 1, "house": 2}),
    "the last has no name": ((0, 1, 2), "2", "ground,tree", {"ground": 0, "tree": 1}),
    "the last has a name": ((0, 1, 2), "2", "ground,tree,sky", {"ground": 0, "tree": 1}),
    "one with a name and one without": ((0, 1, 2, 11), "0,11", "ground,tree,house", {"tree": 1, "house": 2}),
    "a class that no mask has": ((0, 1, 2, 4), "0", "a,b,c,d", {"a": 1, "b": 2, "c": 3, "d": 4}),
    "values far apart": ((0, 100, 200), "0", "ground,tree,house", {"tree": 100, "house": 200}),
    "the rest of values far apart": ((0, 100, 200), "0", "tree,house", {"tree": 100, "house": 200}),
    "edges of 0 and 255": ((0, 128, 255), "128", "skin,edge,lesion", {"skin": 0, "lesion": 255}),
}


@pytest.mark.parametrize("kind", NUMBERED)
def test_names_are_those_of_all_values_or_of_those_that_are_not_ignored(tmp_path: Path, kind: str) -> None:
    values, ignore, names, expected = NUMBERED[kind]
    dataset = opened(tmp_path, of(*values), ignore=ignore, names=names)
    assert dataset.classes == tuple(expected)
    place = {value: i for i, value in enumerate(expected.values())}
    assert labels(dataset) == [place.get(value, IGNORE) for value in values]
    (first, value), *_ = expected.items()
    assert f"({value} is {first})" in dataset.remarks[-1]


def test_names_that_fit_neither_all_values_nor_the_rest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 2 names, and the masks have 4 values, 0 to 3"):
        opened(tmp_path, of(0, 1, 2, 3), ignore="0", names="a,b")


@pytest.mark.parametrize("value", ["7", "-1", "99999", "0,7"])
def test_a_value_that_no_mask_has_cannot_be_ignored(tmp_path: Path, value: str) -> None:
    with pytest.raises(DataError, match=rf"--ignore {value.split(',')[-1]} is in no mask of .*: they have 0 to 2$"):
        opened(tmp_path, of(0, 1, 2), ignore=value)


def test_a_value_may_be_ignored_that_is_255_or_rare_or_only_in_val_or_of_a_class_in_the_table(tmp_path: Path) -> None:
    for split, high in (("train", 1), ("val", 9)):
        opened(tmp_path / split, of(0, 1, high), of(1, 1, 0))
    assert open_dataset(str(tmp_path), ReadOptions(ignore="255,9")).classes == ("0", "1")
    names = tmp_path / "names.txt"
    names.write_text("0 sky\n1 sea\n5 sand\n9 ship\n")
    dataset = open_dataset(str(tmp_path), ReadOptions(ignore="5", class_names=str(names)))
    assert dataset.classes == ("sky", "sea", "ship")
    assert not dataset.bad_annotations


def test_masks_with_nothing_but_ignored_values_have_no_class_and_say_so(tmp_path: Path) -> None:
    dataset = opened(tmp_path, of(0, 0), of(0, 0), ignore="0")
    assert dataset.remarks == ("masks without classes: all of their values are ignored",)
    assert {reason.partition(":")[0] for _, _, reason in dataset.bad_annotations} == {"nothing labelled"}
    with pytest.raises(DataError, match="has no class in the masks of its training images"):
        dataset.train.targets.require_learnable(dataset.name, dataset.classes)


def test_a_name_may_be_ignored_and_void_is_always(tmp_path: Path) -> None:
    dataset = opened(tmp_path, of(0, 1, 2, 3), table="Void\nroad\nsky\ntree\n", ignore="Sky")
    assert dataset.classes == ("road", "tree")
    assert labels(dataset) == [IGNORE, 0, IGNORE, 1]
    assert "ignored: 0, 2, 255" in dataset.remarks[-1]


@pytest.mark.parametrize("name", ["void", "Ignore", "ignored", "unlabeled", "Unlabelled", "don't care", "__ignored__"])
def test_names_that_say_so_are_no_classes(tmp_path: Path, name: str) -> None:
    dataset = opened(tmp_path, of(0, 1, 2), table=f"road\nsky\n{name}\n")
    assert dataset.classes == ("road", "sky")
    assert labels(dataset) == [0, 1, IGNORE]


def test_classes_that_no_mask_has_keep_their_numbers(tmp_path: Path) -> None:
    dataset = opened(tmp_path, of(0, 3), table="a\nb\nc\nd\n")
    assert dataset.classes == ("a", "b", "c", "d")
    assert labels(dataset) == [0, 3]
    assert dataset.train.counts(4).tolist() == [1, 0, 0, 1]


def test_grey_masks_saved_in_colour_are_grey_values(tmp_path: Path) -> None:
    dataset = opened(tmp_path, np.dstack([of(0, 1, 4)] * 3))
    assert dataset.classes == ("0", "1", "4")


def test_opaque_colours_with_alpha_are_colours(tmp_path: Path) -> None:
    colours = np.array([(9, 0, 0, 255), (0, 9, 0, 255)], np.uint8)[of(0, 1)]
    dataset = opened(tmp_path, colours, table="9 0 0 red\n0 9 0 green\n")
    assert dataset.classes == ("red", "green")
    assert labels(dataset) == [0, 1]


def test_a_palette_whose_colours_are_in_the_table_is_read_by_colour(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    Image.new("RGB", (8, 5)).save(tmp_path / "images" / "a.png")
    mask = Image.fromarray(of(0, 1))
    mask.putpalette([0, 9, 0, 9, 0, 0])  # green is the first in the palette, and the second in the table
    mask.save(tmp_path / "labels" / "a.png")
    (tmp_path / "label_colors.txt").write_text("9 0 0 red\n0 9 0 green\n")
    dataset = open_dataset(str(tmp_path))
    assert labels(dataset) == [1, 0]


def test_rows_of_colours_name_grey_values_in_order_if_there_are_as_many(tmp_path: Path) -> None:
    dataset = opened(tmp_path, of(0, 1, 255), table="128 0 0 red\n0 128 0 green\n")
    assert dataset.classes == ("red", "green")
    assert labels(dataset) == [0, 1, IGNORE]


def test_sixteen_bits_hold_more_values_than_255(tmp_path: Path) -> None:
    dataset = opened(tmp_path, of(0, 300, 65535, kind=np.uint16))
    assert dataset.classes == ("0", "300", "65535")
    assert labels(dataset) == [0, 1, 2]


def test_one_wrong_mask_among_many_does_not_change_what_names_are_for(tmp_path: Path) -> None:
    dataset = opened(tmp_path, of(0, 1), of(1, 0), of(0, 99), names="a,b")
    assert dataset.classes == ("a", "b")
    assert [name for _, name, _ in dataset.bad_annotations] == ["images/2.png"]


FORMS = {
    "names": ("classes.txt", "road\nsky\n"),
    "names with spaces": ("classes.txt", "# the classes\n\n  traffic light \nsky\n"),
    "names in CSV": ("classes.csv", "name\nroad\nsky\n"),
    "values first": ("classes.txt", "0 road\n7 sky\n"),
    "values and colons": ("classes.txt", "0: road\n7 : sky\n"),
    "values last": ("labels.csv", "name,value\nroad,0\nsky,7\n"),
    "colours first": ("label_colors.txt", "128 64 0\troad\n1 2 3\tsky\n"),
    "colours last": ("class_dict.csv", "name, r, g, b\nroad, 128, 64, 0\nsky, 1, 2, 3\n"),
    "colours after two words": ("class_dict.csv", "Class Name, R, G, B\nroad, 128, 64, 0\nsky, 1, 2, 3\n"),
    "CVAT": ("labelmap.txt", "# label:color_rgb:parts:actions\nroad:128,64,0::\nsky:1,2,3::\n"),
    "JSON of names": ("classes.json", json.dumps(["road", "sky"])),
    "JSON of values": ("classes.json", json.dumps({"road": 0, "sky": 7})),
    "JSON by value": ("classes.json", json.dumps({"0": "road", "7": "sky"})),
    "JSON of colours": ("classes.json", json.dumps({"road": [128, 64, 0], "sky": [1, 2, 3]})),
    "JSON of objects": ("classes.json", json.dumps([{"name": "road", "id": 0}, {"name": "sky", "id": 7}])),
    "JSON of coloured objects": (
        "classes.json",
        json.dumps([{"name": "road", "color": [128, 64, 0]}, {"name": "sky", "color": [1, 2, 3]}]),
    ),
    "labelme": ("labels.txt", "__ignore__\nroad\nsky\n"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_table_is_read(tmp_path: Path, form: str) -> None:
    name, text = FORMS[form]
    (tmp_path / name).write_text(text)
    first = "traffic light" if "spaces" in form else "road"
    rows = [ClassRow(first), ClassRow("sky")]
    if "value" in form or form == "JSON of objects":
        rows = [ClassRow("road", 0), ClassRow("sky", 7)]
    if "colour" in form or form == "CVAT":
        rows = [ClassRow("road", colour=0x804000), ClassRow("sky", colour=0x010203)]
    assert list(read_class_table(tmp_path / name).rows) == rows


def test_a_list_of_colours_has_no_heading(tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_text("red\ngreen\nblue\n")
    assert [row.name for row in read_class_table(tmp_path / "classes.csv").rows] == ["red", "green", "blue"]


OTHERS = {
    "a heading nobody knows": (
        "classes.csv",
        "Klasse,Rot,Gruen,Blau\nroad,1,2,3\n",
        "line 2, 'road 1 2 3', has numbers",
    ),
    "a name without its value": ("classes.txt", "0 road\nsky\n", "line 1, '0 road', has numbers"),
    "a value with another colon": ("classes.txt", "0: road\nsky\n", "line 1, '0: road', has numbers"),
    "semicolons": ("classes.csv", "id;name\n0;road\n1;sky\n", "line 1, 'id;name', has semicolons"),
    "semicolons without a heading": ("classes.txt", "0;road\n1;sky\n", "line 1, '0;road', has semicolons"),
    "pairs": ("labels.csv", "image,mask\nimages/a.png,masks/a.png\n", "line 2, 'images/a.png masks/a.png', has a path"),
    "labels of images": ("labels.csv", "file,class\na.JPG,cat\n", "line 2, 'a.JPG cat', has a path"),
    "paths": ("classes.txt", "./train/a\n./train/b\n", "line 1, './train/a', has a path"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_line_that_is_no_class_is_refused_and_named(tmp_path: Path, kind: str) -> None:
    name, text, said = OTHERS[kind]
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=re.escape(said)) as caught:
        read_class_table(tmp_path / name)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["labels.csv", "classes.csv"])
def test_a_table_of_pairs_is_not_the_table_of_its_classes(tmp_path: Path, name: str) -> None:
    opened(tmp_path, of(0, 1), of(1, 2))
    lines = ["image,mask", *(f"images/{i}.png,labels/{i}.png" for i in range(2))]
    (tmp_path / name).write_text("\n".join(lines))
    assert open_dataset(str(tmp_path / name)).classes == ("0", "1", "2")
    (tmp_path / "classes.txt").write_text("sky\nsea\nsand\n")
    assert open_dataset(str(tmp_path / name)).classes == ("sky", "sea", "sand")


def test_the_option_may_name_a_file_from_the_folder_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "my names.txt").write_text("a\nb\n")
    dataset = opened(tmp_path, of(0, 1), names="my names.txt", table="x\ny\n")
    assert dataset.classes == ("a", "b")


def test_the_options_are_refused_for_other_data(tmp_path: Path) -> None:
    for place in ("digits", str(tmp_path)):
        with pytest.raises(DataError, match="--ignore is for data with a mask for each image"):
            open_dataset(place, ReadOptions(ignore="0"))
    with pytest.raises(DataError, match="--class-names is for data with a mask"):
        open_dataset("digits", ReadOptions(class_names="a,b"))
