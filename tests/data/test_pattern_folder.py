"""Classes from file names, against re itself, and every way in which a pattern or a folder will not do."""

import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from skipway.data import open_dataset
from skipway.data.formats.name_pattern import suggest_pattern
from skipway.data.read_options import ReadOptions
from skipway.errors import DataError, SkipwayError

PETS = r"(.+)_\d+\.jpg"
NAMES = ("beagle_12.jpg", "beagle_2.jpg", "great_pyrenees_1.jpg", "great_pyrenees_70.jpg", "Abyssinian_3.jpg")


def fill(root: Path, *files: str) -> Path:
    """Files at those places below `root`; their contents do not matter, for opening a folder opens no image."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"image")
    return root


def by_pattern(root: Path, pattern: str = PETS):
    return open_dataset(str(root), ReadOptions(label_pattern=pattern))


def refusal(root: Path, pattern: str = "") -> str:
    with pytest.raises(SkipwayError) as caught:
        open_dataset(str(root), ReadOptions(label_pattern=pattern))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("pattern", [PETS, r"^(.*)_\d+.jpg$", r"([a-z]+)_", r"(?:(.+)_\d+)", r"(?P<breed>[^_]+)_(\d+)"])
def test_the_class_is_the_first_group_that_re_search_finds_in_the_name(tmp_path: Path, pattern: str) -> None:
    # as fastai's RegexLabeller does: search, not match, so that an expression need not cover the name
    root = fill(tmp_path / "pets_7.jpg", *NAMES)
    dataset = by_pattern(root, pattern)
    assert list(dataset.train.names) == sorted(NAMES)
    expected = [re.search(pattern, name).group(1) for name in sorted(NAMES)]
    assert [dataset.classes[i] for i in dataset.train.labels] == expected
    assert dataset.classes == tuple(sorted(set(expected)))
    assert [item.name for item in dataset.train.items] == sorted(NAMES)


def test_numbers_are_classes_in_the_order_of_numbers(tmp_path: Path) -> None:
    assert by_pattern(fill(tmp_path / "d", "a-10.png", "b-9.png", "c-2.png"), r"-(\d+)").classes == ("2", "9", "10")


def test_folders_are_looked_into_and_their_names_do_not_count(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", "one/beagle_1.jpg", "pug_5.jpg", "two/deep_1/pug_2.jpg")
    fill(root, ".hidden/pug_4.jpg", "one/._pug_3.jpg", "notes_1.txt")
    fill(tmp_path / "elsewhere", "beagle_9.jpg")
    (root / "linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "loop").symlink_to(root, target_is_directory=True)
    dataset = by_pattern(root)
    assert {n: dataset.classes[i] for n, i in zip(dataset.train.names, dataset.train.labels, strict=True)} == {
        "pug_5.jpg": "pug",
        "linked/beagle_9.jpg": "beagle",
        "one/beagle_1.jpg": "beagle",
        "two/deep_1/pug_2.jpg": "pug",
    }


@pytest.mark.parametrize(("train", "val"), [("train", "val"), ("Training", "validation")])
def test_train_val_and_test_above_are_splits(tmp_path: Path, train: str, val: str) -> None:
    root = fill(tmp_path / "s", f"{train}/a_1.jpg", f"{train}/b_1.jpg", f"{val}/b_2.jpg", "test/deep/a_2.jpg")
    dataset = by_pattern(root)
    assert dataset.classes == ("a", "b")
    assert [dataset.split(key).labels.tolist() for key in ("train", "val", "test")] == [[0, 1], [1], [0]]
    assert dataset.test.names == ["test/deep/a_2.jpg"]


def test_names_without_a_class_are_counted_and_the_first_is_named(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", *NAMES, "extra.jpg", "zebra.jpg", "z/_9.jpg")
    said = refusal(root, PETS)
    assert "finds no class in the names of 3 of 8 images in" in said
    assert f"'{PETS}'" in said
    assert "the first: extra.jpg" in said
    assert "8 of 8" in refusal(root, r"beagle_(never)?\d|(?:.)(x)?"), "a group that took no part is no class"
    assert "8 of 8" in refusal(root, r"(x*)"), "an empty group is no class"


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (r"(.+_\d+", "is not a regular expression (missing ), unterminated subpattern at position 0)"),
        ("*", "is not a regular expression (nothing to repeat"),
        ("(a){99999999999999999999}", "is not a regular expression ("),
        ("(" * 5000 + ")" * 5000, "is not a regular expression ("),
        (r".+_\d+\.jpg", "has no group: put the class into parentheses"),
        (r"(?:.+)_\d+", "has no group"),
        ("a\nb", r"'a\nb' has no group"),
    ],
)
def test_an_expression_that_will_not_do_is_one_line(tmp_path: Path, pattern: str, said: str) -> None:
    assert said in refusal(fill(tmp_path / "set", *NAMES), pattern)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda root: root.mkdir(), "has no images for --label-pattern: supported suffixes are "),
        (lambda root: fill(root, "notes_1.txt"), "has no images for --label-pattern"),
        (lambda root: fill(root, "val/a_1.jpg", "test/b_1.jpg"), "has val, test but no train folder"),
        (lambda root: fill(root, "train/a_1.jpg", "val/b_1.txt"), "val has no image"),
        (lambda root: fill(root, "train/a_1.jpg", "loose_1.jpg"), "outside its splits, such as 'loose_1.jpg'"),
        (lambda root: fill(root, "train/a_1.jpg", "more/b_1.jpg"), "outside its splits, such as 'more'"),
        (
            lambda root: fill(root, "train/a_1.jpg", "val/b_1.jpg"),
            "val/b_1.jpg has the label 'b', which is not in train",
        ),
    ],
)
def test_a_folder_that_will_not_do_is_one_line(tmp_path: Path, make: Callable[[Path], object], said: str) -> None:
    root = tmp_path / "mine"
    make(root)
    assert said in refusal(root, PETS)
    assert str(root) in refusal(root, PETS)


def test_a_folder_that_may_not_be_read_is_one_line(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every folder")
    root = fill(tmp_path / "set", "in/a_1.jpg")
    (root / "in").chmod(0)
    try:
        assert "no permission to read" in refusal(root, PETS)
    finally:
        (root / "in").chmod(0o755)


@pytest.mark.parametrize(
    ("names", "pattern", "classes"),
    [
        ([f"{breed}_{i}.jpg" for breed in ("pug", "great_dane") for i in range(9)], r"(.+)_\d+\.jpg", 2),
        ([f"{kind}.{i}.jpg" for kind in ("cat", "dog") for i in range(9)], r"(.+)\.\d+\.jpg", 2),
        ([f"{kind} ({i}).JPEG" for kind in ("cat", "dog") for i in range(9)], r"(.+) \(\d+\)\.JPEG", 2),
        ([f"{kind}{i:03}.png" for kind in ("cat", "dog", "owl") for i in range(12)], r"(.+?)\d+\.png", 3),
        ([f"{kind}_{i}.{e}" for kind in ("cat", "dog") for i in range(9) for e in ("jpg", "png")], r"(.+)_\d+\.", 2),
    ],
)
def test_a_pattern_is_suggested_that_opens_the_folder_with_as_many_classes(
    tmp_path: Path, names: list[str], pattern: str, classes: int
) -> None:
    said = refusal(fill(tmp_path / "set", *names))
    assert f"{len(names)} images but no class folders" in said
    assert f"--label-pattern {shlex.quote(pattern)}, which finds {classes} classes in the names" in said
    dataset = by_pattern(tmp_path / "set", pattern)
    assert len(dataset.classes) == classes
    assert set(dataset.train.counts(classes)) == {len(names) // classes}


@pytest.mark.parametrize(
    "names",
    [
        [f"IMG_{i}.jpg" for i in range(9)],  # one class
        [f"{i:012}.jpg" for i in range(9)],  # no letters
        [f"n{i}_{name}.jpg" for i, name in enumerate(("tench", "shark", "cock"))],  # digits do not end the name
        [f"{name}_1.jpg" for name in ("tench", "shark", "cock")],  # a class of its own for each
        [*(f"pug_{i}.jpg" for i in range(9)), *(f"owl_{i}.jpg" for i in range(9)), "zoo.jpg"],  # not in every name
        [],
    ],
)
def test_no_pattern_is_suggested_that_would_not_serve(names: list[str]) -> None:
    assert suggest_pattern(sorted(names)) is None


def test_the_suggestion_is_made_for_a_train_folder_too(tmp_path: Path) -> None:
    files = [f"train/{kind}_{i}.jpg" for kind in ("cat", "dog") for i in range(4)]
    said = refusal(fill(tmp_path / "set", *files, "test/cat_9.jpg"))
    assert r"--label-pattern '(.+)_\d+\.jpg', which finds 2 classes" in said
    assert by_pattern(tmp_path / "set").train.counts(2).tolist() == [4, 4]


def test_a_pattern_counts_before_what_else_lies_in_the_folder(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", "JPEGImages/pug_1.jpg", "JPEGImages/owl_1.jpg", "more.parquet", "more.tar")
    fill(root, "Annotations/pug_1.xml")
    (root / "Annotations" / "pug_1.xml").write_text("<annotation><object/></annotation>")
    assert by_pattern(root).classes == ("owl", "pug")
    with pytest.raises(DataError):
        open_dataset(str(root))


def test_the_photographs_open_with_one_class_each(shared_data: Path) -> None:
    pattern = r"n\d{8}_(.+)\.JPEG"
    dataset = by_pattern(shared_data / "photos", pattern)
    names = sorted(file.name for file in (shared_data / "photos").iterdir())
    assert [dataset.classes[i] for i in dataset.train.labels] == [re.fullmatch(pattern, name)[1] for name in names]
