"""A column chosen for the labels, in tables, parquet and saved data sets, against what csv and pyarrow read."""

import csv
import io
import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from skipway.data import open_dataset
from skipway.data.dataset import Dataset
from skipway.data.read_options import ReadOptions
from skipway.errors import DataError, SkipwayError

COLUMNS = {
    "breed": ["pug", "beagle", "pug", "cat, big"],
    "size in cm": ["30", "9", "120", "30"],
    "class": ["x", "y", "y", "x"],
    "label": ["b", "b", "a", "a"],
    "file": ["same", "other", "other", "other"],  # a name that could be the paths'
}


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (4, 4), value).save(stream, "PNG")
    return stream.getvalue()


def table(root: Path, header: list[str], name: str = "pets.csv", delimiter: str = ",") -> str:
    """A table of four images by COLUMNS, `path` and `split`."""
    for i in range(4):
        (root / f"{i}.png").write_bytes(png(i))
    held = COLUMNS | {"path": [f"{i}.png" for i in range(4)], "split": ["train", "train", "train", "test"]}
    with (root / name).open("w", newline="") as stream:
        csv.writer(stream, delimiter=delimiter).writerows([header, *zip(*(held[h] for h in header), strict=True)])
    return str(root / name)


def parquet(root: Path, header: list[str], metadata: dict | None = None) -> str:
    rows = [{"bytes": png(i), "path": None} for i in range(4)]
    written = pa.table({"image": rows} | {name: COLUMNS.get(name, [2, 0, 1, 0]) for name in header})
    if metadata:
        written = written.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": metadata}})})
    pq.write_table(written, root / "pets.parquet")
    return str(root / "pets.parquet")


def named(dataset: Dataset, split: str = "train") -> list[str]:
    return [dataset.classes[i] for i in dataset.split(split).labels]


def refusal(where: str, reading: ReadOptions) -> str:
    with pytest.raises(SkipwayError) as caught:
        open_dataset(where, reading)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("column", [name for name in COLUMNS if name != "file"])
@pytest.mark.parametrize(("name", "delimiter"), [("pets.csv", ","), ("pets.tsv", "\t"), ("pets.csv", ";")])
def test_a_tables_labels_are_those_that_csv_reads_in_the_column(
    tmp_path: Path, column: str, name: str, delimiter: str
) -> None:
    where = table(tmp_path, ["breed", "size in cm", "path", "class", "label"], name, delimiter)
    dataset = open_dataset(where, ReadOptions(label_column=column))
    with Path(where).open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter=delimiter))
    assert named(dataset) == [row[column] for row in rows]
    assert list(dataset.train.names) == [row["path"] for row in rows]
    assert dataset.task == "classify"


def test_the_split_column_counts_beside_a_chosen_one_and_a_chosen_one_is_no_path(tmp_path: Path) -> None:
    where = table(tmp_path, ["path", "split", "file", "breed"])
    dataset = open_dataset(where, ReadOptions(label_column="file"))
    assert named(dataset) == COLUMNS["file"][:3]
    assert named(dataset, "test") == COLUMNS["file"][3:]
    dataset = open_dataset(table(tmp_path, ["path", "split", "class"]), ReadOptions(label_column="split"))
    assert named(dataset) == ["train", "train", "train", "test"]
    assert dataset.test is None


def test_a_column_is_found_in_any_case_if_only_one_is_called_so(tmp_path: Path) -> None:
    where = Path(table(tmp_path, ["path", "breed", "class"]))
    assert named(open_dataset(str(where), ReadOptions(label_column="BREED"))) == COLUMNS["breed"]
    where.write_text(where.read_text().replace("class", "Breed", 1))
    assert named(open_dataset(str(where), ReadOptions(label_column="Breed"))) == COLUMNS["class"]
    assert "has 2 columns called BREED: rename" in refusal(str(where), ReadOptions(label_column="BREED"))


@pytest.mark.parametrize("make", [table, parquet])
def test_a_column_that_is_not_there_is_refused_with_those_that_are_and_the_nearest(tmp_path: Path, make) -> None:
    where = make(tmp_path, [*(["path"] if make is table else []), "breed", "class"])
    said = refusal(where, ReadOptions(label_column="bred"))
    assert said.startswith("unknown label column 'bred': did you mean 'breed'?")
    assert f"{where} has columns {'path' if make is table else 'image'}, breed, class" in said
    assert "did you mean" not in refusal(where, ReadOptions(label_column="zzz"))


def test_of_very_many_columns_some_are_named(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "0.png")
    header = ["path", *(f"a{i}" for i in range(500))]
    (tmp_path / "wide.csv").write_text(f"{','.join(header)}\n0.png{',0' * 500}\n")
    said = refusal(str(tmp_path / "wide.csv"), ReadOptions(label_column="zzz"))
    assert "a18 and 481 more" in said
    assert len(said) < 500


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (
            ["path", "label", "class"],
            "has columns label and class: keep one of them, or choose one with --label-column label",
        ),
        (["path", "label", "breed"], "unknown columns: 'breed'; keep only path, label and split, or choose"),
        (["path", "breed", "size in cm"], "holds 0 or 1; choose the label column with --label-column"),
    ],
)
def test_tables_with_several_candidates_say_how_to_choose(tmp_path: Path, header: list[str], said: str) -> None:
    where = table(tmp_path, header)
    assert said in refusal(where, ReadOptions())
    assert "--label-column" in refusal(where, ReadOptions())
    assert named(open_dataset(where, ReadOptions(label_column=header[1]))) == COLUMNS[header[1]]


def test_parquet_labels_are_those_that_pyarrow_reads_in_the_column(tmp_path: Path) -> None:
    features = {name: {"names": names, "_type": "ClassLabel"} for name, names in (("fine", "abc"), ("coarse", "xyz"))}
    where = parquet(tmp_path, ["label", "breed", "fine", "coarse"], features)
    for column, names in (("label", None), ("breed", None), ("fine", "abc"), ("coarse", "xyz")):
        values = pq.read_table(where)[column].to_pylist()
        dataset = open_dataset(where, ReadOptions(label_column=column))
        assert named(dataset) == [names[v] if names else v for v in values]
    assert dataset.classes == ("x", "y", "z"), "the names that the metadata give this column"
    assert named(open_dataset(where)) == COLUMNS["label"], "the hub's own name needs no choice"


def test_parquet_with_several_candidates_or_none_says_how_to_choose(tmp_path: Path) -> None:
    several = parquet(tmp_path, ["class", "labels", "target"])
    assert "has columns labels and class and target: choose one, such as --label-column labels" in refusal(
        several, ReadOptions()
    )
    none = parquet(tmp_path, ["breed"])
    assert "has columns image, breed: " in refusal(none, ReadOptions())
    assert "--label-column" in refusal(none, ReadOptions())
    assert named(open_dataset(none, ReadOptions(label_column="breed"))) == COLUMNS["breed"]
    assert "has labels of type struct" in refusal(none, ReadOptions(label_column="image"))
    pq.write_table(pa.table({"text": ["a"], "breed": ["b"]}), tmp_path / "text.parquet")
    with pytest.raises(DataError, match="an image column"):
        open_dataset(str(tmp_path / "text.parquet"), ReadOptions(label_column="breed"))


def test_a_saved_set_of_the_hubs_takes_a_column_and_leaves_out_splits_that_withhold_it(tmp_path: Path) -> None:
    kind = datasets.Features(
        {"image": datasets.Image(), "dog": datasets.ClassLabel(names=["no", "yes"]), "breed": datasets.Value("string")}
    )

    def rows(dog: list[int], breed: list[str]) -> datasets.Dataset:
        images = [{"bytes": png(i), "path": None} for i in range(len(dog))]
        return datasets.Dataset.from_dict({"image": images, "dog": dog, "breed": breed}, features=kind)

    datasets.disable_progress_bars()
    train, test = rows([1, 0, 1], ["pug", "tabby", "beagle"]), rows([-1, -1], ["pug", "tabby"])
    datasets.DatasetDict(train=train, test=test).save_to_disk(tmp_path / "saved")
    where = str(tmp_path / "saved")
    assert "--label-column" in refusal(where, ReadOptions())
    by_breed = open_dataset(where, ReadOptions(label_column="breed"))
    assert named(by_breed) == ["pug", "tabby", "beagle"]
    assert named(by_breed, "test") == ["pug", "tabby"]
    by_dog = open_dataset(where, ReadOptions(label_column="dog"))
    assert by_dog.classes == ("no", "yes")
    assert by_dog.train.labels.tolist() == [1, 0, 1]
    assert by_dog.test is None
    assert by_dog.left_out == (("test", "its 2 labels are withheld (-1)"),)
    assert "did you mean 'breed'" in refusal(where, ReadOptions(label_column="breeds"))


def test_random_tables_give_what_csv_reads(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    for _ in range(30):
        header = ["path", *(f"c{i} {rng.choice(list('ab,;é'))}" for i in range(rng.integers(2, 5)))]
        cells = [[f"{i}.png", *(f"x{rng.integers(3)}, y" for _ in header[1:])] for i in range(6)]
        with (tmp_path / "t.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([header, *cells])
        place = int(rng.integers(1, len(header)))
        dataset = open_dataset(str(tmp_path / "t.csv"), ReadOptions(label_column=header[place]))
        assert named(dataset) == [row[place] for row in cells]
