"""What is said about a data set's files is kept with the source, survives JSON, and is refused where it has no use."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from skipway.data import open_dataset
from skipway.data.dataset import match_classes, with_validation
from skipway.data.read_options import ReadOptions
from skipway.errors import DataError

READINGS = [
    ReadOptions(),
    ReadOptions(label_column="breed of dog; \"quoted\" 'twice'"),
    ReadOptions(label_pattern=r"(.+)_\d+\.jpg"),
    ReadOptions("-n", "--x (日本語)\t"),
]


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Four files of each of two breeds, named for them, and a table of them."""
    root = tmp_path / "pets"
    root.mkdir()
    names = [f"{breed}_{i}.jpg" for breed in ("beagle", "pug") for i in range(4)]
    for name in names:
        (root / name).write_bytes(b"image")
    (root / "table.csv").write_text("path,breed,size\n" + "".join(f"{n},{n.split('_')[0]},s\n" for n in names))
    return root


@pytest.mark.parametrize("reading", READINGS)
def test_a_reading_survives_json(reading: ReadOptions) -> None:
    assert ReadOptions(**json.loads(json.dumps(asdict(reading)))) == reading


@pytest.mark.parametrize("reading", READINGS)
def test_its_options_say_the_same_on_a_command_line(reading: ReadOptions) -> None:
    seen: list[ReadOptions] = []
    app = typer.Typer()
    app.command()(lambda label_column="", label_pattern="": seen.append(ReadOptions(label_column, label_pattern)))
    line = shlex.join(["verb", *reading.options()])
    assert CliRunner().invoke(app, shlex.split(line)[1:]).exit_code == 0
    assert seen == [reading]


@pytest.mark.parametrize(
    "values", [{"label_column": None}, {"label_pattern": 3}, {"label_column": ["a"]}, {"format": 1}, {"other": ""}]
)
def test_values_of_another_kind_are_a_type_error(values: dict) -> None:
    with pytest.raises(TypeError):
        ReadOptions(**values)


def test_the_source_keeps_its_reading_and_opens_again_with_it(pets: Path, photo_folder: Path) -> None:
    for where, reading in (
        (pets, ReadOptions(label_pattern=r"(.+)_\d+")),
        (pets / "table.csv", ReadOptions(label_column="breed")),
    ):
        dataset = open_dataset(str(where), reading)
        assert dataset.reading == reading
        changed = match_classes(with_validation(dataset, 0.25, 0), ("pug", "beagle"))
        assert changed.reading == reading
        again = open_dataset(dataset.name, ReadOptions(**json.loads(json.dumps(asdict(dataset.reading)))))
        assert again.fingerprint == dataset.fingerprint
        np.testing.assert_array_equal(again.train.labels, dataset.train.labels)
    assert open_dataset(str(photo_folder)).reading == ReadOptions()


@pytest.mark.parametrize(
    ("where", "reading", "said"),
    [
        (
            "digits",
            ReadOptions(label_column="breed"),
            "--label-column is for a table, parquet or a data set of the hub",
        ),
        ("digits", ReadOptions(label_pattern="(.)"), "--label-pattern is for a folder of images"),
        ("hf:owner/name", ReadOptions(label_pattern="(.)"), "--label-pattern is for a folder of images"),
        ("{}", ReadOptions(label_column="breed"), "--label-column is for a table"),
        ("{}", ReadOptions("breed", r"(.+)_\d+"), "--label-column is for a table"),
        ("{}/table.csv", ReadOptions(label_pattern="(.)"), "--label-pattern is for a folder of images"),
        ("{}/all.parquet", ReadOptions(label_pattern="(.)"), "--label-pattern is for a folder of images"),
        ("{}/all.tar", ReadOptions(label_column="breed"), "--label-column is for a table"),
        ("{}/all-{{0..1}}.tar", ReadOptions(label_column="breed"), "--label-column is for a table"),
    ],
)
def test_a_data_set_that_has_no_use_for_it_refuses_it_in_one_line(
    pets: Path, where: str, reading: ReadOptions, said: str
) -> None:
    name = where.format(pets)
    if name.endswith((".parquet", ".tar")) and "{" not in name:
        Path(name).write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        open_dataset(name, reading)
    assert said in str(caught.value)
    assert name in str(caught.value)
    assert str(caught.value).endswith("leave it out")
    assert "\n" not in str(caught.value)
