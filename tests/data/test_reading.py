"""What is said about a data set's files is kept with the source, survives JSON, and is refused where it has no use."""

import json
import shlex
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from skipway.data import open_source
from skipway.data.reading import Reading
from skipway.data.source import fingerprint, match_classes, with_validation
from skipway.errors import DataError

READINGS = [
    Reading(),
    Reading(label_column="breed of dog; \"quoted\" 'twice'"),
    Reading(label_pattern=r"(.+)_\d+\.jpg"),
    Reading("-n", "--x (日本語)\t"),
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
def test_a_reading_survives_json(reading: Reading) -> None:
    assert Reading(**json.loads(json.dumps(asdict(reading)))) == reading


@pytest.mark.parametrize("reading", READINGS)
def test_its_options_say_the_same_on_a_command_line(reading: Reading) -> None:
    seen: list[Reading] = []
    app = typer.Typer()
    app.command()(lambda label_column="", label_pattern="": seen.append(Reading(label_column, label_pattern)))
    line = shlex.join(["verb", *reading.options()])
    assert CliRunner().invoke(app, shlex.split(line)[1:]).exit_code == 0
    assert seen == [reading]


@pytest.mark.parametrize(
    "values", [{"label_column": None}, {"label_pattern": 3}, {"label_column": ["a"]}, {"other": ""}]
)
def test_values_of_another_kind_are_a_type_error(values: dict) -> None:
    with pytest.raises(TypeError):
        Reading(**values)


def test_the_source_keeps_its_reading_and_opens_again_with_it(pets: Path, photo_folder: Path) -> None:
    for where, reading in (
        (pets, Reading(label_pattern=r"(.+)_\d+")),
        (pets / "table.csv", Reading(label_column="breed")),
    ):
        source = open_source(str(where), reading)
        assert source.reading == reading
        changed = match_classes(with_validation(source, 0.25, 0), ("pug", "beagle"))
        assert changed.reading == reading
        again = open_source(source.name, Reading(**json.loads(json.dumps(asdict(source.reading)))))
        assert fingerprint(again) == fingerprint(source)
        np.testing.assert_array_equal(again.train.labels, source.train.labels)
    assert open_source(str(photo_folder)).reading == Reading()


@pytest.mark.parametrize(
    ("where", "reading", "said"),
    [
        ("digits", Reading(label_column="breed"), "--label-column is for a table, parquet or a data set of the hub"),
        ("digits", Reading(label_pattern="(.)"), "--label-pattern is for a folder of images"),
        ("hf:owner/name", Reading(label_pattern="(.)"), "--label-pattern is for a folder of images"),
        ("{}", Reading(label_column="breed"), "--label-column is for a table"),
        ("{}", Reading("breed", r"(.+)_\d+"), "--label-column is for a table"),
        ("{}/table.csv", Reading(label_pattern="(.)"), "--label-pattern is for a folder of images"),
        ("{}/all.parquet", Reading(label_pattern="(.)"), "--label-pattern is for a folder of images"),
        ("{}/all.tar", Reading(label_column="breed"), "--label-column is for a table"),
        ("{}/all-{{0..1}}.tar", Reading(label_column="breed"), "--label-column is for a table"),
    ],
)
def test_a_data_set_that_has_no_use_for_it_refuses_it_in_one_line(
    pets: Path, where: str, reading: Reading, said: str
) -> None:
    name = where.format(pets)
    if name.endswith((".parquet", ".tar")) and "{" not in name:
        Path(name).write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        open_source(name, reading)
    assert said in str(caught.value)
    assert name in str(caught.value)
    assert str(caught.value).endswith("leave it out")
    assert "\n" not in str(caught.value)
