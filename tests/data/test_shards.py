"""Tar shards, written here by Python's tarfile in WebDataset's layout, and every way in which one can be damaged."""

import io
import json
import pickle
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipway.data import open_dataset
from skipway.data.dataset import with_validation
from skipway.data.decode import decode
from skipway.data.formats import webdataset
from skipway.data.loader import decode_all, in_order
from skipway.data.preprocess import for_photographs
from skipway.errors import DataError


def image(value: int, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 4), value).save(stream, form)
    return stream.getvalue()


def write(file: Path, members: Sequence[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w", format=form) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file


def samples(values: Sequence[int], classes: Sequence[object]) -> list[tuple[str, bytes]]:
    """Images of grey `values` with `key.cls` beside each."""
    pairs = zip(values, classes, strict=True)
    return [part for v, c in pairs for part in ((f"{v:04}.png", image(v)), (f"{v:04}.cls", str(c).encode()))]


def greys(items: Sequence) -> list[int]:
    return [int(decode(item, 1, "x")[0, 0, 0]) for item in items]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_one_shard_is_a_training_set(tmp_path: Path, form: int) -> None:
    dataset = open_dataset(str(write(tmp_path / "all.tar", samples([5, 3, 9], [1, 0, 1]), form)))
    assert dataset.name == str(tmp_path / "all.tar")
    assert dataset.classes == ("0", "1")
    assert dataset.train.labels.tolist() == [1, 0, 1]
    assert list(dataset.train.names) == ["all.tar/0005.png", "all.tar/0003.png", "all.tar/0009.png"]
    assert greys(dataset.train.items) == [5, 3, 9]


def test_shards_in_a_folder_are_splits_in_name_order(tmp_path: Path) -> None:
    write(tmp_path / "train-000001.tar", samples([3, 4], ["dog", "dog"]))
    write(tmp_path / "train-000000.tar", samples([1, 2], ["cat", "owl"]))
    write(tmp_path / "val-000000.tar", samples([5], ["owl"]))
    write(tmp_path / "test-000000.tar", samples([6, 7], ["dog", "cat"]))
    dataset = open_dataset(str(tmp_path))
    assert dataset.classes == ("cat", "dog", "owl")
    assert greys(dataset.train.items) == [1, 2, 3, 4]
    assert dataset.train.labels.tolist() == [0, 2, 1, 1]
    assert (greys(dataset.val.items), dataset.val.labels.tolist()) == ([5], [2])
    assert (greys(dataset.test.items), dataset.test.labels.tolist()) == ([6, 7], [1, 0])


def test_folders_say_the_split_where_names_do_not(tmp_path: Path) -> None:
    write(tmp_path / "train" / "0.tar", samples([1, 2], [0, 1]))
    write(tmp_path / "validation" / "0.tar", samples([3], [1]))
    dataset = open_dataset(str(tmp_path))
    assert (greys(dataset.train.items), greys(dataset.val.items)) == ([1, 2], [3])


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("train-{000..002}.tar", [0, 1, 2]),
        ("train-{001..002}.tar", [1, 2]),
        ("train-00{0,2}.tar", [0, 2]),
        ("{train,test}-{000..000}.tar", [0]),
        ("train-*.tar", [0, 1, 2]),
        ("train-00[12].tar", [1, 2]),
    ],
)
@pytest.mark.parametrize("absolute", [True, False])
def test_patterns_name_shards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, found: list[int], absolute: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    for i in range(3):
        write(tmp_path / f"train-{i:03}.tar", samples([i], ["a"]))
    write(tmp_path / "test-000.tar", samples([9], ["a"]))
    where = str(tmp_path / pattern) if absolute else pattern
    dataset = open_dataset(where)
    assert dataset.name == where, "by which it opens again"
    assert greys(dataset.train.items) == found
    assert (dataset.test is not None) == ("test" in pattern)


def test_a_pattern_of_test_shards_is_a_set_to_judge_on(tmp_path: Path) -> None:
    for i in range(2):
        write(tmp_path / f"test-{i}.tar", samples([i], ["a"]))
    assert len(open_dataset(f"{tmp_path}/test-{{0..1}}.tar").train) == 2


def test_samples_are_told_apart_by_names_up_to_the_first_dot(tmp_path: Path) -> None:
    members = [
        ("./cats/a.b.jpg", image(10, "JPEG")),
        ("./dogs/a.PNG", image(20)),
        ("__meta__.json", b"{}"),
        ("._hidden.png", b"x"),
        ("./dogs/a.json", b'{"label": "dog", "width": 4}'),
        ("./cats/a.json", b'{"label": "cat"}'),  # not beside its image
    ]
    dataset = open_dataset(str(write(tmp_path / "all.tar", members)))
    assert greys(dataset.train.items) == [10, 20]
    assert [dataset.classes[i] for i in dataset.train.labels] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("extension", "content"),
    [
        ("cls", "dog"),
        ("cls", " dog\n"),
        ("txt", "dog"),
        ("json", '"label"|"dog"'),
        ("json", '"class"|"dog"'),
        ("json", '"target"|"dog"'),
    ],
)
def test_labels_are_read_from_each_kind_of_file(tmp_path: Path, extension: str, content: str) -> None:
    text = "{" + content.replace("|", ":") + "}" if extension == "json" else content
    members = [("a.png", image(1)), (f"a.{extension}", text.encode())]
    assert open_dataset(str(write(tmp_path / "all.tar", members))).classes == ("dog",)


def test_a_class_counts_more_than_the_text_beside_it(tmp_path: Path) -> None:
    members = [("a.png", image(1)), ("a.txt", b"a small dog\nin the rain"), ("a.cls", b"dog")]
    assert open_dataset(str(write(tmp_path / "all.tar", members))).classes == ("dog",)


def test_lists_of_labels_are_rows_of_0_and_1(tmp_path: Path) -> None:
    lists = [["owl", "cat"], [], ["cat"]]
    members = [(f"{i}.png", image(i)) for i in range(3)]
    members += [(f"{i}.json", json.dumps({"labels": value}).encode()) for i, value in enumerate(lists)]
    dataset = open_dataset(str(write(tmp_path / "all.tar", members)))
    assert dataset.classes == ("cat", "owl")
    assert dataset.train.labels.tolist() == [[1, 1], [0, 0], [1, 0]]


def test_numbers_index_the_lines_of_classes_txt(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("owl\ncat, tabby\nnever\n")
    write(tmp_path / "train-0.tar", samples([1, 2], [1, 0]))
    dataset = open_dataset(str(tmp_path))
    assert dataset.classes == ("owl", "cat, tabby", "never")
    assert dataset.train.labels.tolist() == [1, 0]
    write(tmp_path / "train-1.tar", samples([3], [3]))
    with pytest.raises(
        DataError, match=r"sample 0003\.cls is not a valid label \('3' is not one of the 3 lines of classes"
    ):
        open_dataset(str(tmp_path))
    (tmp_path / "classes.txt").write_text("owl\n\nowl\n")
    with pytest.raises(DataError, match=r"classes\.txt has empty or duplicate lines"):
        open_dataset(str(tmp_path))


def test_images_are_read_in_any_order_by_threads_and_by_other_processes(tmp_path: Path) -> None:
    values = list(range(60))
    for i in range(3):
        part = values[20 * i : 20 * (i + 1)]
        write(tmp_path / f"train-{i}.tar", samples(part, [v % 2 for v in part]))
    dataset = open_dataset(str(tmp_path))
    order = np.random.default_rng(0).permutation(60)
    assert greys(dataset.train.take(order).items) == [values[i] for i in order]
    assert greys(dataset.train.items[10:13]) == [10, 11, 12]
    assert greys([dataset.train.items[-1]]) == [59]
    assert greys(pickle.loads(pickle.dumps(dataset.train.items))) == values
    assert decode_all(dataset.train, for_photographs(4))[:, 0, 0, 0].tolist() == values
    found = [images[:, 0, 0, 0] for images in in_order(dataset.train, for_photographs(4), 7, workers=2)]
    assert np.concatenate(found).tolist() == values
    cut = with_validation(dataset, 0.2, 0)
    assert sorted(greys(cut.train.items) + greys(cut.val.items)) == values
    assert {v % 2 for v in greys(cut.val.items)} == {0, 1}


def test_nothing_but_labels_is_read_before_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "all.tar", samples([1, 2], [0, 1]))
    dataset = open_dataset(str(file))
    content = file.read_bytes()
    file.write_bytes(content.replace(image(2), image(7)))  # of the same length, in the same place
    assert len(image(2)) == len(image(7))
    assert greys(dataset.train.items) == [1, 7]
    file.write_bytes(content[:1500])
    with pytest.raises(DataError, match=r"all\.tar is shorter than before"):
        dataset.train.items[1]
    file.unlink()
    with pytest.raises(DataError, match=r"all\.tar cannot be read \(No such file"):
        dataset.train.items[0]


def test_a_shard_cut_anywhere_is_refused_by_name(tmp_path: Path) -> None:
    content = write(tmp_path / "good.tar", samples([1, 2, 3], [0, 1, 0])).read_bytes()
    last = max(i for i, byte in enumerate(content) if byte) + 1
    for cut in [*range(0, last, 256), last]:
        (tmp_path / "bad.tar").write_bytes(content[:cut])
        with pytest.raises(DataError, match=r"bad\.tar") as caught:
            open_dataset(str(tmp_path / "bad.tar"))
        assert "\n" not in str(caught.value)


def test_archives_joined_end_to_end_are_refused_not_read_in_part(tmp_path: Path) -> None:
    one, two = (write(tmp_path / f"{i}.tar", samples([i], [0])).read_bytes() for i in range(2))
    (tmp_path / "joined").mkdir()
    (tmp_path / "joined" / "both.tar").write_bytes(one + two)
    with pytest.raises(DataError, match=r"both\.tar has data after its end marker"):
        open_dataset(str(tmp_path / "joined" / "both.tar"))


IMAGE = ("a.png", image(1))


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([IMAGE], "sample a has .png: it needs one image, and a label as .cls, .json, .txt"),
        ([("a.cls", b"0")], "sample a has .cls: it needs one image"),
        ([IMAGE, ("a.jpg", image(1)), ("a.cls", b"0")], "sample a has .png, .jpg, .cls: it needs one image"),
        ([IMAGE, ("a.cls", b"0"), IMAGE], "contains a.png twice"),
        ([IMAGE, ("a.cls", b"")], "sample a.cls is not a valid label (exactly one line is required)"),
        ([IMAGE, ("a.cls", b"\xff")], "sample a.cls is not a valid label"),
        ([IMAGE, ("a.txt", b"a dog\nin the rain")], "sample a.txt is not a valid label (exactly one line is required)"),
        ([IMAGE, ("a.json", b"{")], "sample a.json is not a valid label"),
        (
            [IMAGE, ("a.json", b'{"width": 4}')],
            "sample a.json is not a valid label (no field label, labels, class, target)",
        ),
        ([IMAGE, ("a.json", b'["label"]')], "sample a.json is not a valid label (no field"),
        ([IMAGE, ("a.json", b'{"label": 0.5}')], "sample a.json is not a valid label (label is not an integer"),
        ([IMAGE, ("a.json", b'{"label": null}')], "sample a.json is not a valid label (label is not an integer"),
        ([IMAGE, ("a.json", b'{"label": true}')], "sample a.json is not a valid label (label is not an integer"),
        ([IMAGE, ("a.json", b"[" * 100_000)], "sample a.json is not a valid label"),
        ([IMAGE, ("a.cls", b"0" * (1 << 20) + b"0")], "sample a has a label of 1,048,577 bytes"),
    ],
)
def test_a_sample_that_is_wrong_is_named(tmp_path: Path, members: list[tuple[str, bytes]], words: str) -> None:
    file = write(tmp_path / "all.tar", members)
    with pytest.raises(DataError) as caught:
        open_dataset(str(file))
    assert words in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_links_and_folders_in_a_shard_are_no_samples(tmp_path: Path) -> None:
    write(tmp_path / "all.tar", samples([1], [0]))
    with tarfile.open(tmp_path / "all.tar", "a") as tar:
        for name, kind in (("etc.png", tarfile.SYMTYPE), ("far.png", tarfile.LNKTYPE), ("folder.png", tarfile.DIRTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            tar.addfile(member)
    assert list(open_dataset(str(tmp_path / "all.tar")).train.names) == ["all.tar/0001.png"]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("train-{000..003}.tar", "train-001.tar does not exist"),
        ("gone-*.tar", "gone-*.tar does not exist"),
        ("train-{3..1}.tar", "expands to no names"),
        ("{more,train-000}.tar", "more.tar does not name its split"),
    ],
)
def test_a_pattern_that_matches_too_little_is_refused(tmp_path: Path, pattern: str, words: str) -> None:
    write(tmp_path / "train-000.tar", samples([1], [0]))
    write(tmp_path / "more.tar", samples([1], [0]))
    with pytest.raises(DataError) as caught:
        open_dataset(f"{tmp_path}/{pattern}")
    assert words in str(caught.value)


def test_an_archive_beside_class_folders_changes_nothing(photo_folder: Path, tmp_path: Path) -> None:
    for name in ("across", "down"):
        (tmp_path / name).symlink_to(photo_folder / name)
    write(tmp_path / "photos.tar", samples([1], [0]))
    assert open_dataset(str(tmp_path)).classes == ("across", "down")


def test_a_compressed_shard_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "all.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
    with pytest.raises(DataError, match=r"all\.tar is not a readable tar file"):
        open_dataset(str(tmp_path / "all.tar"))


def test_braces_count_and_list() -> None:
    assert webdataset.expand_braces("a-{08..11}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]
    assert webdataset.expand_braces("{a,b}/{0..1}") == ["a/0", "a/1", "b/0", "b/1"]
    assert webdataset.expand_braces("plain") == ["plain"]
