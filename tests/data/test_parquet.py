"""Parquet files in the hub's layout, written here as the hub writes them."""

import io
import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from skipway.data import open_dataset
from skipway.data.dataset import with_validation
from skipway.data.decode import decode
from skipway.data.formats import parquet
from skipway.data.loader import decode_all
from skipway.data.preprocess import for_photographs
from skipway.errors import DataError

NAMES = ["cat", "dog", "owl"]


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 4), value).save(stream, "PNG")
    return stream.getvalue()


def write(
    file: Path,
    labels: Sequence[object],
    names: list[str] | None = None,
    images: list[dict | None] | None = None,
    columns: tuple[str, str] = ("image", "label"),
    group: int | None = None,
) -> Path:
    """The i-th image is all of grey i, so that a mixed-up row shows; `group` is the rows of a row group."""
    rows = images if images is not None else [{"bytes": png(i), "path": f"{i}.png"} for i in range(len(labels))]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table({columns[0]: pa.array(rows, kind), columns[1]: pa.array(labels)})
    if names is not None:
        features = {columns[0]: {"_type": "Image"}, columns[1]: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, file, row_group_size=group)
    return file


def test_labels_index_the_names_in_the_metadata(tmp_path: Path) -> None:
    dataset = open_dataset(str(write(tmp_path / "all.parquet", [2, 0, 2], NAMES)))
    assert dataset.classes == ("cat", "dog", "owl"), "a class without images keeps its place"
    assert dataset.train.labels.tolist() == [2, 0, 2]
    assert dataset.train.names[1] == "all.parquet[1] 1.png"
    assert [int(decode(item, 1, "x")[0, 0, 0]) for item in dataset.train.items] == [0, 1, 2]


def test_without_names_integers_are_classes_in_the_order_of_numbers(tmp_path: Path) -> None:
    dataset = open_dataset(str(write(tmp_path / "all.parquet", [10, 9, 2, 10])))
    assert dataset.classes == ("2", "9", "10")
    assert dataset.train.labels.tolist() == [2, 1, 0, 2]


def test_words_are_classes_in_the_order_of_letters(tmp_path: Path) -> None:
    dataset = open_dataset(str(write(tmp_path / "all.parquet", ["owl", "cat", "owl"])))
    assert dataset.classes == ("cat", "owl")
    assert dataset.train.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("column", ["label", "labels", "fine_label"])
def test_the_hubs_usual_names_of_columns_are_found(tmp_path: Path, column: str) -> None:
    dataset = open_dataset(str(write(tmp_path / "all.parquet", [1, 0], NAMES, columns=("img", column))))
    assert dataset.train.labels.tolist() == [1, 0]


def test_files_in_a_folder_are_splits_and_shards_in_name_order(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data" / "train-00001-of-00002.parquet", [2, 2], NAMES)
    write(tmp_path / "data" / "train-00000-of-00002.parquet", [0, 1, 0], NAMES)
    write(tmp_path / "data" / "validation-00000-of-00001.parquet", [1], NAMES)
    write(tmp_path / "data" / "test-00000-of-00001.parquet", [2, 0], NAMES)
    dataset = open_dataset(str(tmp_path))
    assert dataset.train.labels.tolist() == [0, 1, 0, 2, 2]
    assert dataset.val.labels.tolist() == [1]
    assert dataset.test.labels.tolist() == [2, 0]
    assert len(set(dataset.train.names)) == 5


@pytest.mark.parametrize("row", [None, {"bytes": None, "path": "a.png"}, {"bytes": b"", "path": "a.png"}])
def test_a_row_without_image_bytes_is_named(tmp_path: Path, row: dict | None) -> None:
    file = write(tmp_path / "all.parquet", [0, 1], NAMES, [{"bytes": png(0), "path": None}, row])
    with pytest.raises(DataError, match=r"all\.parquet row 1 has no image bytes"):
        open_dataset(str(file))


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_that_its_metadata_does_not_name_is_refused(tmp_path: Path, label: int) -> None:
    file = write(tmp_path / "all.parquet", [0, label], NAMES)
    with pytest.raises(DataError, match=rf"all\.parquet row 1 has the label {label}: its metadata names 3 classes"):
        open_dataset(str(file))


@pytest.mark.parametrize(("labels", "names"), [([0, None, 1], None), (["a", None, "b"], None), ([0, None, 1], NAMES)])
def test_a_missing_label_is_refused_as_missing(tmp_path: Path, labels: list, names: list[str] | None) -> None:
    with pytest.raises(DataError, match=r"all\.parquet row 1 has no label"):
        open_dataset(str(write(tmp_path / "all.parquet", labels, names)))


def test_a_label_in_test_that_train_lacks_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", ["cat", "dog"])
    write(tmp_path / "test.parquet", ["cat", "newt"])
    with pytest.raises(DataError, match=r"test\.parquet\[1\] 1\.png has the label 'newt', which is not in train"):
        open_dataset(str(tmp_path))


def test_splits_whose_metadata_name_other_classes_are_refused_not_mixed_up(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [0, 1], ["cat", "dog"])
    write(tmp_path / "test.parquet", [0, 1], ["dog", "cat"])
    try:
        dataset = open_dataset(str(tmp_path))
    except DataError as fault:
        assert "test.parquet" in str(fault)
    else:
        assert [dataset.classes[i] for i in dataset.test.labels] == ["dog", "cat"]


@pytest.mark.parametrize("content", [b"", b"not parquet", b"PAR1" + bytes(40) + b"PAR1"])
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "all.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"all\.parquet is not a readable parquet file"):
        open_dataset(str(tmp_path / "all.parquet"))


def test_damage_inside_a_file_is_a_named_refusal_or_changes_nothing_else(tmp_path: Path) -> None:
    good = write(tmp_path / "good.parquet", [0, 1, 2, 1], NAMES).read_bytes()
    bad, refused = tmp_path / "bad.parquet", 0
    for cut in range(0, len(good), max(1, len(good) // 40)):
        bad.write_bytes(good[:cut])
        with pytest.raises(DataError, match=r"bad\.parquet"):
            open_dataset(str(bad))
        refused += 1
    assert refused >= 40


@pytest.mark.parametrize("metadata", [b"{", b'{"info": null}', b"[]", b'{"info": {"features": null}}'])
def test_metadata_of_another_form_is_passed_over(tmp_path: Path, metadata: bytes) -> None:
    file = write(tmp_path / "all.parquet", [0, 1])
    pq.write_table(pq.read_table(file).replace_schema_metadata({b"huggingface": metadata}), file)
    assert open_dataset(str(file)).classes == ("0", "1")


def test_columns_of_another_layout_are_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"], "label": [0]}), tmp_path / "all.parquet")
    with pytest.raises(DataError, match=r"all\.parquet has columns text, label: an image column"):
        open_dataset(str(tmp_path / "all.parquet"))


def test_shards_of_different_columns_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train-0.parquet", [0])
    write(tmp_path / "train-1.parquet", ["a"])
    with pytest.raises(DataError, match="different columns"):
        open_dataset(str(tmp_path))


def test_files_that_do_not_say_their_split_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", [0, 1])
    write(tmp_path / "more.parquet", [0, 1])
    with pytest.raises(DataError, match=r"more\.parquet does not name its split"):
        open_dataset(str(tmp_path))


def test_a_folder_without_training_files_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "test-0.parquet", [0, 1])
    write(tmp_path / "test-1.parquet", [0, 1])
    with pytest.raises(DataError, match=r"no train\*\.parquet"):
        open_dataset(str(tmp_path))


def test_lists_of_labels_are_rows_of_0_and_1(tmp_path: Path) -> None:
    dataset = open_dataset(str(write(tmp_path / "all.parquet", [["owl", "cat"], [], ["cat"]])))
    assert dataset.task == "tag"
    assert dataset.classes == ("cat", "owl")
    assert dataset.train.labels.tolist() == [[1, 1], [0, 0], [1, 0]]
    file = write(tmp_path / "named.parquet", [[2], [0, 1]])
    features = {"label": {"feature": {"names": NAMES, "_type": "ClassLabel"}, "_type": "List"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pq.read_table(file).replace_schema_metadata(metadata), file)
    dataset = open_dataset(str(file))
    assert dataset.classes == ("cat", "dog", "owl")
    assert dataset.train.labels.tolist() == [[0, 0, 1], [1, 1, 0]]


def test_categories_of_pandas_are_words(tmp_path: Path) -> None:
    file = write(tmp_path / "all.parquet", ["owl", "cat", "owl"])
    table = pq.read_table(file)
    pq.write_table(table.set_column(1, "label", table["label"].dictionary_encode()), file)
    assert open_dataset(str(file)).train.labels.tolist() == [1, 0, 1]


@pytest.mark.parametrize("labels", [[0.0, 1.0], [float("nan"), 1.0], [True, False]])
def test_labels_that_are_neither_whole_numbers_nor_words_are_refused(tmp_path: Path, labels: list) -> None:
    with pytest.raises(DataError, match=r"all\.parquet has labels of type \w+: use integers or strings"):
        open_dataset(str(write(tmp_path / "all.parquet", labels)))


def greys(items: Sequence) -> list[int]:
    return [int(decode(item, 1, "x")[0, 0, 0]) for item in items]


@pytest.mark.parametrize("whole", [0, 1 << 30])
def test_images_are_the_same_from_memory_and_from_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: int
) -> None:
    monkeypatch.setattr(parquet, "IN_MEMORY_LIMIT", whole)
    write(tmp_path / "train-0.parquet", [0, 1] * 25, NAMES, group=7)
    write(tmp_path / "train-1.parquet", [2, 1, 0], NAMES, group=2)
    write(tmp_path / "test.parquet", [2, 1, 0], NAMES)
    dataset = open_dataset(str(tmp_path))
    expected = [*range(50), 0, 1, 2]
    assert greys(dataset.train.items) == expected
    order = np.random.default_rng(0).permutation(53)
    assert greys(dataset.train.take(order).items) == [expected[i] for i in order]
    assert greys([dataset.train.items[-1], dataset.train.items[50]]) == [2, 0]
    assert greys(pickle.loads(pickle.dumps(dataset.train.items))) == expected, "worker processes get it this way"
    opened = decode_all(dataset.train, for_photographs(4))
    assert opened[:, 0, 0, 0].tolist() == expected, "threads read it at once"
    plain = replace(dataset, train=replace(dataset.train, items=[png(i) for i in expected]))
    assert dataset.fingerprint == plain.fingerprint
    cut = with_validation(dataset, 0.2, 0)
    assert sorted(greys(cut.train.items) + greys(cut.val.items)) == sorted(expected)


def test_of_a_large_set_only_what_is_asked_for_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "IN_MEMORY_LIMIT", 0)
    read: list[int] = []

    def counted(group: parquet.RowGroup) -> pa.ChunkedArray:
        read.append(group.number)
        return parquet.read_group(group)

    monkeypatch.setattr(parquet, "read_group_cached", counted)
    dataset = open_dataset(str(write(tmp_path / "all.parquet", [0, 1] * 25, NAMES, group=10)))
    assert not read
    assert greys([dataset.train.items[33]]) == [33]
    assert read == [3]


def test_a_row_of_a_large_set_without_image_bytes_is_named_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "IN_MEMORY_LIMIT", 0)
    images = [{"bytes": png(0), "path": None}] * 3 + [None]
    dataset = open_dataset(str(write(tmp_path / "all.parquet", [0, 1, 0, 1], NAMES, images, group=2)))
    with pytest.raises(DataError, match=r"all\.parquet row 3 has no image bytes"):
        dataset.train.items[3]


def test_a_file_that_goes_away_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "IN_MEMORY_LIMIT", 0)
    file = write(tmp_path / "all.parquet", [0, 1], NAMES)
    dataset = open_dataset(str(file))
    file.unlink()
    with pytest.raises(DataError, match=r"all\.parquet is not a readable parquet file"):
        dataset.train.items[0]


def test_folders_say_the_split_where_names_do_not(tmp_path: Path) -> None:
    for split, labels in (("train", [0, 1]), ("validation", [1]), ("test", [0, 0])):
        (tmp_path / "default" / split).mkdir(parents=True)
        write(tmp_path / "default" / split / "0000.parquet", labels, NAMES)
    dataset = open_dataset(str(tmp_path))
    assert [len(dataset.split(key)) for key in ("train", "val", "test")] == [2, 1, 2]


def test_the_cifar_copy_opens_with_its_names_and_counts(shared_data: Path) -> None:
    dataset = open_dataset(str(shared_data / "cifar10" / "test.parquet"))
    assert len(dataset.train) == 10_000
    assert dataset.train.counts(10).tolist() == [1000] * 10
    assert dataset.classes == ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    assert decode(dataset.train.items[0], 3, "first").shape == (3, 32, 32)
    assert len(np.unique([hash(item) for item in dataset.train.items[:1000]])) > 990, "rows must not repeat"
