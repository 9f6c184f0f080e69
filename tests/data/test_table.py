"""Tables of images, as spreadsheets, pandas and people write them, and every way in which one can be wrong."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from skipway.data import open_dataset
from skipway.data.dataset import match_classes
from skipway.data.decode import decode
from skipway.errors import DataError

FILES = ("a/1.png", "a/2.png", "b/3.png", "b/4.png", "5.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five images; the i-th is all of grey i."""
    for i, file in enumerate(FILES, 1):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4), i).save(tmp_path / file)
    return tmp_path


def write(root: Path, text: str | bytes, name: str = "table.csv") -> str:
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(root / name)


def rows(*lists: list[object], delimiter: str = ",") -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter).writerows(lists)
    return stream.getvalue()


def test_a_table_names_images_beside_it_and_their_classes(root: Path) -> None:
    where = write(root, "path,label\na/1.png,cat\nb/3.png,dog\n5.png,cat\n")
    dataset = open_dataset(where)
    assert dataset.name == where
    assert dataset.classes == ("cat", "dog")
    assert dataset.train.labels.tolist() == [0, 1, 0]
    assert list(dataset.train.names) == ["a/1.png", "b/3.png", "5.png"], "names are the paths as written"
    assert [int(decode(item, 1, "x")[0, 0, 0]) for item in dataset.train.items] == [1, 3, 5]
    assert dataset.val is None
    assert dataset.test is None


@pytest.mark.parametrize("path", ["path", "image", "file", "filename", "Image", " FILENAME "])
@pytest.mark.parametrize("label", ["label", "labels", "class", "target", "Label"])
def test_columns_are_found_by_name_in_any_order(root: Path, path: str, label: str) -> None:
    dataset = open_dataset(
        write(root, f"{label},split,{path}\ncat,train,a/1.png\ndog,test,b/3.png\ndog,train,b/4.png\n")
    )
    assert dataset.train.labels.tolist() == [0, 1]
    assert dataset.test.labels.tolist() == [1]


@pytest.mark.parametrize(("name", "delimiter"), [("t.csv", ","), ("t.tsv", "\t"), ("t.csv", ";"), ("T.CSV", ",")])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])  # Excel begins UTF-8 with one
def test_tables_of_every_spreadsheet_open(root: Path, name: str, delimiter: str, end: str, mark: bytes) -> None:
    text = rows(["path", "label"], ["a/1.png", "cat"], ["b/3.png", "dog"], delimiter=delimiter)
    dataset = open_dataset(write(root, mark + text.replace("\r\n", end).encode(), name))
    assert dataset.classes == ("cat", "dog")


def test_classes_may_have_commas_quotes_and_lines(root: Path) -> None:
    names = ["tench, Tinca tinca", 'the "big" one', "two\nlines", "日本語", "a\u2028b"]
    found = open_dataset(write(root, rows(["path", "label"], *[list(pair) for pair in zip(FILES, names, strict=True)])))
    assert sorted(found.classes) == sorted(names)
    assert [found.classes[i] for i in found.train.labels] == names


def test_numbers_are_classes_in_the_order_of_numbers(root: Path) -> None:
    dataset = open_dataset(write(root, "path,label\na/1.png,10\na/2.png,9\nb/3.png,2\n"))
    assert dataset.classes == ("2", "9", "10")
    assert dataset.train.labels.tolist() == [2, 1, 0]


def test_spaces_around_labels_and_empty_lines_do_not_count(root: Path) -> None:
    dataset = open_dataset(write(root, "path, label\n\na/1.png, cat \n\nb/3.png,cat\n5.png,dog\n\n"))
    assert dataset.classes == ("cat", "dog")
    assert dataset.train.labels.tolist() == [0, 0, 1]


def test_splits_are_named_in_the_ways_of_folders(root: Path) -> None:
    text = "path,label,split\na/1.png,x,Training\na/2.png,y,train\nb/3.png,y,VALID\nb/4.png,x,testing\n5.png,y,test\n"
    dataset = open_dataset(write(root, text))
    assert [dataset.split(key).labels.tolist() for key in ("train", "val", "test")] == [[0, 1], [1], [0, 1]]
    assert list(dataset.test.names) == ["b/4.png", "5.png"]


def test_a_table_of_test_images_alone_can_be_judged_and_not_learned(root: Path) -> None:
    dataset = open_dataset(write(root, "path,label,split\na/1.png,owl,test\nb/3.png,cat,test\n"))
    assert len(dataset.train) == 0
    assert dataset.eval_split() == "test"
    assert match_classes(dataset, ("ant", "cat", "owl")).test.labels.tolist() == [2, 1]


def test_an_empty_cell_among_cells_of_several_labels_is_an_image_without_any(root: Path) -> None:
    dataset = open_dataset(write(root, "path,labels\na/1.png,cat;dog\na/2.png,\nb/3.png,dog\n"))
    assert dataset.train.labels.tolist() == [[1, 1], [0, 0], [0, 1]]


@pytest.mark.parametrize("mark", [";", "|"])
def test_several_labels_in_a_cell_are_a_row_of_0_and_1(root: Path, mark: str) -> None:
    cells = [f"cat{mark}dog", "dog", f"owl{mark} cat"]
    dataset = open_dataset(write(root, rows(["path", "labels"], *[list(p) for p in zip(FILES, cells, strict=False)])))
    assert dataset.task == "tag"
    assert dataset.classes == ("cat", "dog", "owl")
    assert dataset.train.labels.dtype == np.uint8
    assert dataset.train.labels.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]


def test_a_column_of_0_and_1_for_each_class_keeps_their_order_and_the_images_of_none(root: Path) -> None:
    text = "path,owl,cat,never,split\na/1.png,1,0,0,train\na/2.png,0,0,0,train\nb/3.png,1,1,0,val\n"
    dataset = open_dataset(write(root, text))
    assert dataset.task == "tag"
    assert dataset.classes == ("owl", "cat", "never")
    assert dataset.train.labels.tolist() == [[1, 0, 0], [0, 0, 0]]
    assert dataset.val.labels.tolist() == [[1, 1, 0]]


def test_absolute_paths_open_from_anywhere(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    dataset = open_dataset(write(elsewhere, f"path,label\n{root / '5.png'},cat\n{root / 'a/1.png'},dog\n"))
    assert dataset.train.items[0] == root / "5.png"
    assert dataset.train.names[0] == str(root / "5.png")


def test_a_row_may_be_repeated_to_count_more(root: Path) -> None:
    dataset = open_dataset(write(root, "path,label\na/1.png,cat\na/1.png,cat\nb/3.png,dog\n"))
    assert dataset.train.labels.tolist() == [0, 0, 1]


def test_a_label_of_test_that_train_lacks_is_named(root: Path) -> None:
    text = "path,label,split\na/1.png,cat,train\na/2.png,dog,train\nb/3.png,newt,test\n"
    with pytest.raises(DataError, match=r"table\.csv: b/3\.png has the label 'newt', which is not in train"):
        open_dataset(write(root, text))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no rows"),
        ("path,label\n", "has no rows"),
        ("path,label\na/1.png,cat\na/gone.png,dog\n", "row 3: a/gone.png does not exist"),
        ("path,label\n\na/gone.png,dog\n", "row 3: a/gone.png does not exist"),
        ("path,label\na,cat\n", "row 2: a is not a file"),
        ("path,label\na/1.png,cat\na/2.png,\n", "row 3 has an empty label"),
        ("path,label\na/1.png,cat\na/2.png,  \n", "row 3 has an empty label"),
        ("path,labels\na/1.png,cat;;dog\n", "row 2 has an empty label"),
        ("path,label\n,cat\n", "row 2 has no path"),
        ("name,label\na/1.png,cat\n", "has columns name, label: a column called path is required"),
        ("a/1.png,cat\na/2.png,dog\n", "has columns a/1.png, cat: a column called path is required"),
        ("path,label,splt\na/1.png,cat,test\n", "unknown columns: 'splt'"),
        (",path,label\n0,a/1.png,cat\n", "unknown columns: ''"),
        ("path,file,label\na/1.png,a/1.png,cat\n", "has columns path and file: keep one of them"),
        ("path,label,class\na/1.png,cat,dog\n", "has columns label and class: keep one of them"),
        ("path,split\na/1.png,train\n", "has no column called label, and no columns of 0 and 1"),
        ("path,breed\na/1.png,cat\n", "row 2 has 'cat' in column breed: without a column called label"),
        ("path,cat,cat\na/1.png,1,0\n", "columns without a name, or two with the same name"),
        ("path,cat,\na/1.png,1,0\n", "columns without a name, or two with the same name"),
        ("path,label\na/1.png,cat\na/2.png,cat,dog\n", "row 3 has 3 fields, the header 2"),
        ("path,label\na/1.png,cat\na/2.png\n", "row 3 has 1 fields, the header 2"),
        ("path,label,split\na/1.png,cat,holdout\n", "row 2 has the split 'holdout': write train, val or test"),
        ("path,label,split\na/1.png,cat,\n", "row 2 has the split ''"),
        ("path,label\na/1.png,cat\n../x/1.png,cat\n", "row 3: ../x/1.png is outside the table's folder"),
        ("path,label\na/../../x/1.png,cat\n", "row 2: a/../../x/1.png is outside the table's folder"),
        ("path,label\na/1.png,cat\nb/3.png,dog\na/1.png,dog\n", "row 4 gives a/1.png the label 'dog' and row 2 'cat'"),
        ("path,label\na/1.png,cat\n./a/1.png,dog\n", "row 3 gives ./a/1.png the label 'dog' and row 2 'cat'"),
        (
            "path,label,split\na/1.png,cat,train\na/1.png,cat,test\n",
            "row 3 gives a/1.png the split 'test' and row 2 'train'",
        ),
        ("path,label\na/1.png,cat;dog\n", "row 2 has ';' in column label: call the column labels"),
        ("path,labels\na/1.png,cat;dog\na/2.png,cat|dog\n", "separates labels by both ; and |"),
        ('path,label\na/1.png,"cat\na/2.png,dog\n', "row 2 cannot be read"),
        ('path,label\na/1.png,"cat"x\n', "row 2 cannot be read"),
        (b"path,label\na/1.png,cat\na/2.png,k\xe4fer\n", "row 3 is not UTF-8: save the table as UTF-8"),
        ("path,label\na/1.png,cat\n".encode("utf-16"), "row 1 is not UTF-8"),
    ],
)
def test_a_table_that_is_wrong_is_refused_by_name_and_row(root: Path, text: str | bytes, words: str) -> None:
    where = write(root, text)
    with pytest.raises(DataError) as caught:
        open_dataset(where)
    assert words in str(caught.value)
    assert str(caught.value).startswith(where)
    assert "\n" not in str(caught.value)


def test_tables_of_random_fields_come_back_as_python_wrote_them(root: Path) -> None:
    rng = np.random.default_rng(0)
    letters = list("ab ,\"'\t#é\n")
    for _ in range(40):
        names = ["x" + "".join(rng.choice(letters, rng.integers(0, 8))) + "y" for _ in FILES]
        text = rows(["path", "label"], *[list(pair) for pair in zip(FILES, names, strict=True)])
        dataset = open_dataset(write(root, text))
        assert [dataset.classes[i] for i in dataset.train.labels] == names
