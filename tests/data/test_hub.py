"""Data sets of the hub, from a cache laid out as the hub's client lays it out, and saved ones. No network."""

import io
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

import datasets
import huggingface_hub
import numpy as np
import pytest
from PIL import Image

from skipway.data import open_dataset
from skipway.data.decode import decode
from skipway.data.formats.hub import Place, parse
from skipway.errors import DataError, SkipwayError

NAMES = ["cat", "dog", "owl"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _quiet_and_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "arrow")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("SKIPWAY_OFFLINE", "1")
    datasets.disable_progress_bars()


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 4), value).save(stream, "PNG")
    return stream.getvalue()


def rows(values: Sequence[int], labels: Sequence[object], kind: object = None) -> datasets.Dataset:
    features = datasets.Features({"image": datasets.Image(), "label": kind or datasets.ClassLabel(names=NAMES)})
    images = [{"bytes": png(v), "path": f"{v}.png"} for v in values]
    return datasets.Dataset.from_dict({"image": images, "label": list(labels)}, features=features)


def greys(items: Sequence) -> list[int]:
    return [int(decode(item, 1, "x")[0, 0, 0]) for item in items]


def cached(root: Path, revision: str = "main") -> Path:
    """The folder of owner/name's files in the hub's cache, as of `revision`."""
    repository = root / "hub" / "datasets--owner--name"
    (repository / "refs").mkdir(parents=True, exist_ok=True)
    (repository / "refs" / revision).write_text(COMMIT)
    folder = repository / "snapshots" / COMMIT
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_places_on_the_hub_are_read() -> None:
    assert parse("hf:owner/name") == Place("owner/name", None, None)
    assert parse("hf:owner/name:small@v1.0") == Place("owner/name", "small", "v1.0")
    assert parse("hf:o.w-n/n_a.m-e@refs/convert/parquet") == Place("o.w-n/n_a.m-e", None, "refs/convert/parquet")
    for text in ("hf:", "hf:name", "hf:owner/", "hf:owner/name/more", "hf:../../etc/passwd", "hf:owner/name:"):
        with pytest.raises(DataError, match="is not a valid hub name"):
            parse(text)


def test_a_data_set_of_the_hub_opens_by_its_name(tmp_path: Path) -> None:
    data = cached(tmp_path) / "data"
    data.mkdir()
    rows([1, 2, 3], [2, 0, 1]).to_parquet(data / "train-00000-of-00001.parquet")
    rows([4], [1]).to_parquet(data / "validation-00000-of-00001.parquet")
    rows([5, 6], [0, 2]).to_parquet(data / "test-00000-of-00001.parquet")
    dataset = open_dataset("hf:owner/name")
    assert dataset.name == "hf:owner/name"
    assert dataset.classes == ("cat", "dog", "owl")
    assert greys(dataset.train.items) == [1, 2, 3]
    assert [dataset.split(key).labels.tolist() for key in ("train", "val", "test")] == [[2, 0, 1], [1], [0, 2]]
    assert list(dataset.test.names) == ["test[0]", "test[1]"]
    assert open_dataset(f"hf:owner/name@{COMMIT}").train.labels.tolist() == [2, 0, 1]


def test_a_repository_of_several_sets_asks_which_and_opens_it(tmp_path: Path) -> None:
    folder = cached(tmp_path)
    text = "---\nconfigs:\n"
    for name, value in (("small", 7), ("large", 9)):
        (folder / name).mkdir()
        rows([value, value + 1], [0, 1]).to_parquet(folder / name / "train.parquet")
        text += f"- config_name: {name}\n  data_files:\n  - split: train\n    path: {name}/train.parquet\n"
    (folder / "README.md").write_text(f"{text}---\n")
    assert greys(open_dataset("hf:owner/name:large").train.items) == [9, 10]
    with pytest.raises(DataError, match=r"^hf:owner/name cannot be opened as a data set \(.*[Cc]onfig"):
        open_dataset("hf:owner/name")


def test_offline_a_set_that_is_not_cached_is_one_line() -> None:
    with pytest.raises(DataError) as caught:
        open_dataset("hf:owner/other")
    assert str(caught.value).startswith(
        "hf:owner/other is not in the hub's cache and cannot be downloaded (SKIPWAY_OFFLINE"
    )
    assert "\n" not in str(caught.value)


def test_a_hub_out_of_reach_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKIPWAY_OFFLINE")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # where nothing listens
    with pytest.raises(DataError) as caught:
        open_dataset("hf:owner/other")
    assert str(caught.value).startswith("hf:owner/other is not in the hub's cache and cannot be downloaded (")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("whole", [True, False])
def test_a_set_saved_to_disk_opens_by_its_folder(tmp_path: Path, whole: bool) -> None:
    train = rows([1, 2, 3, 4], [2, 0, 1, 0]).select([3, 1, 0])  # which keeps a list of rows beside the table
    saved = train if whole else datasets.DatasetDict(train=train, test=rows([5], [1]))
    saved.save_to_disk(tmp_path / "saved")
    dataset = open_dataset(str(tmp_path / "saved"))
    assert dataset.name == str(tmp_path / "saved")
    assert dataset.classes == ("cat", "dog", "owl")
    assert greys(dataset.train.items) == [4, 2, 1]
    assert dataset.train.labels.tolist() == [0, 0, 2]
    assert (dataset.test is None) == whole
    order = np.array([2, 0])
    assert greys(pickle.loads(pickle.dumps(dataset.train.take(order).items))) == [1, 4]


def test_lists_of_labels_are_rows_of_0_and_1(tmp_path: Path) -> None:
    rows([1, 2], [[0, 2], []], datasets.List(datasets.ClassLabel(names=NAMES))).save_to_disk(tmp_path / "saved")
    dataset = open_dataset(str(tmp_path / "saved"))
    assert dataset.classes == ("cat", "dog", "owl")
    assert dataset.train.labels.tolist() == [[1, 0, 1], [0, 0, 0]]


def test_splits_of_other_names_are_left_out_and_said(tmp_path: Path) -> None:
    datasets.DatasetDict(train=rows([1, 2], [0, 1]), unlabelled=rows([3], [0])).save_to_disk(tmp_path / "saved")
    dataset = open_dataset(str(tmp_path / "saved"))
    assert len(dataset.train) == 2
    assert dataset.left_out == (("unlabelled", "a split that is not train, val or test: 1 rows"),)


def test_a_split_whose_labels_are_withheld_is_left_out_and_said(tmp_path: Path) -> None:
    datasets.DatasetDict(train=rows([1, 2], [0, 1]), test=rows([3, 4], [-1, -1])).save_to_disk(tmp_path / "saved")
    dataset = open_dataset(str(tmp_path / "saved"))
    assert dataset.test is None
    assert dataset.left_out == (("test", "its 2 labels are withheld (-1)"),)
    datasets.DatasetDict(train=rows([1, 2], [0, -1]), test=rows([3, 4], [0, 1])).save_to_disk(tmp_path / "ill")
    with pytest.raises(DataError, match=r"train row 1 has the label -1"):
        open_dataset(str(tmp_path / "ill"))


def test_a_repository_of_image_files_is_read_from_them(tmp_path: Path) -> None:
    for i, name in enumerate(("cat", "dog")):
        (cached(tmp_path) / "train" / name).mkdir(parents=True)
        (cached(tmp_path) / "train" / name / "a.png").write_bytes(png(i + 8))
    dataset = open_dataset("hf:owner/name")
    assert dataset.classes == ("cat", "dog")
    assert greys(dataset.train.items) == [8, 9]
    (cached(tmp_path) / "train" / "dog" / "a.png").unlink()
    with pytest.raises(DataError, match=r"row 1 has neither image bytes nor an image file \(.*dog/a\.png"):
        dataset.train.items[1]


def test_sets_that_cannot_be_are_refused_in_one_line(tmp_path: Path) -> None:
    datasets.Dataset.from_dict({"text": ["a"], "label": [0]}).save_to_disk(tmp_path / "text")
    with pytest.raises(DataError, match=r"text has columns text, label: an image column"):
        open_dataset(str(tmp_path / "text"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "state.json").write_text("{")
    with pytest.raises(DataError, match=r"broken cannot be opened as a saved data set") as caught:
        open_dataset(str(tmp_path / "broken"))
    assert "\n" not in str(caught.value)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SkipwayError, match=r"pip install 'skipway\[data\]'"):
        open_dataset("hf:owner/name")
