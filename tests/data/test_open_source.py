"""What `open_dataset` says of a name or path that is no data set, and that every source opens again by its name."""

import os
from pathlib import Path

import pytest

from skipway.data import FILES, KINDS, open_dataset
from skipway.errors import DataError, SkipwayError


@pytest.mark.parametrize(
    "kind", ["class folders", "CSV", "parquet", "tar shards", "hf:owner/name", "digits", "cifar10"]
)
def test_every_kind_of_data_set_is_named_where_none_is_found(tmp_path: Path, kind: str) -> None:
    assert kind in KINDS
    (tmp_path / "notes.txt").write_text("x")
    for where in (str(tmp_path / "notes.txt"), str(tmp_path / "gone.csv"), "nonesuch"):
        with pytest.raises(SkipwayError) as caught:
            open_dataset(where)
        assert kind in str(caught.value)
        assert where in str(caught.value)
        assert "\n" not in str(caught.value)


def test_pipes_devices_and_names_that_cannot_be_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    for where in (str(tmp_path / "pipe.csv"), "/dev/zero"):
        with pytest.raises(DataError, match="is a pipe or device"):
            open_dataset(where)
    with pytest.raises(DataError, match="cannot be opened"):
        open_dataset("x" * 5000)


@pytest.mark.parametrize("ending", FILES)
def test_a_file_of_nothing_is_refused_by_name_whatever_it_claims_to_be(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"all{ending}"
    for content in (b"", b"\x00" * 512, b"\xff\xfe\x00"):
        file.write_bytes(content)
        with pytest.raises(DataError, match=rf"{file}") as caught:
            open_dataset(str(file))
        assert "\n" not in str(caught.value)


def test_a_source_opens_again_by_its_name(photo_folder: Path, tmp_path: Path) -> None:
    files = sorted(p.relative_to(photo_folder) for p in photo_folder.rglob("*.jpg"))
    (tmp_path / "table.csv").write_text("path,label\n" + "".join(f"{photo_folder / f},{f.parent}\n" for f in files))
    for where in (str(photo_folder), str(tmp_path / "table.csv"), "digits"):
        dataset = open_dataset(where)
        again = open_dataset(dataset.name)
        assert again.name == where
        assert again.fingerprint == dataset.fingerprint
        assert again.classes == dataset.classes
